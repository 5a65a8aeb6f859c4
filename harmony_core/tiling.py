"""Into what pieces the CPU's operators cut their work; the models cut by these sizes, and the cost model counts them.

Imports no torch. What was measured for a size is said where it is used (`harmony_core.models.ops`).
"""

from __future__ import annotations

# Keys seen up to which attention keeps its weights for the backward pass: a seventh less time, for memory that grows
# with tokens x keys.
KEPT_KEYS = 512
# Multiply-adds of one head's block from which a oneDNN call of its own is worth it, in fp32; blocks are long then.
LARGE_BLOCK = 6 << 20
# Bytes of the scores of a short block of queries, over the sequences and heads that are computed together, that a
# core's cache holds until the next product reads them.
CACHED_BYTES = 1 << 20
# Elements of the logits that the loss sees at a time, where the vocabulary is small: few enough for a core's cache.
LOGITS_SLICE = 1 << 19
# Rows of a slice at least, by device, since each slice reads the head's weights and adds to their gradient again.
LOGITS_ROWS = {"cpu": 1 << 9, "cuda": 1 << 13}
# Elements of a slice that these rows may not exceed.
LOGITS_MEMORY = {"cpu": 1 << 25, "cuda": 1 << 27}
# Tokens of a chunk of the Mamba-2 scan at most: more cost a CPU more products than they save it calls.
SCAN_CHUNK = 64
# Bytes of the largest matrices of the chunks of a delta rule that are computed together.
SPAN_BYTES = 1 << 20
# Tokens of a block in whose products each pair has its own decays by channel.
DECAY_BLOCK = 8
# Elements of the states of a chunk of the Mamba-1 scan: few enough for a core's cache, enough that calls do not weigh.
SCAN_STATES = 1 << 19
# Elements of B * x in a piece of the gated short convolution: a core's cache holds all that is made of it.
SHORT_CONV_ELEMENTS = 1 << 17
# Rows that an expert's slice is rounded up to at most.
MOST_ALIGNED = 64

# Bytes of an element of a slice, about three fp32 tensors: logits, their softmax, and their gradient.
LOGITS_BYTES = 3 * 4


def logits_rows(vocab_size: int, device_type: str = "cpu") -> int:
    """Rows (tokens) of a slice of the logits.

    Args:
        vocab_size: elements of a row.
        device_type: "cpu" or "cuda", which ROCm is called, too.
    """
    large = min(LOGITS_ROWS[device_type], LOGITS_MEMORY[device_type] // vocab_size)
    return max(1, LOGITS_SLICE // vocab_size, large)


def query_block(repeats: int, width: int, context: int, window: int | None, typed_bytes: int) -> int:
    """Tokens of a block of queries, whose scores are one matrix; arguments as for `long_query_blocks`."""
    if long_query_blocks(repeats, width, context, window, typed_bytes):
        return long_block(repeats)
    return short_block(repeats, typed_bytes)


def long_query_blocks(repeats: int, width: int, context: int, window: int | None, typed_bytes: int) -> bool:
    """Whether blocks of queries are long, and their products oneDNN's.

    Args:
        repeats: query heads of a key/value head.
        width: of a head's queries and keys.
        context: tokens of a sequence.
        window: tokens that a query sees; None is all.
        typed_bytes: of an element in the type of the products.
    """
    seen = min(context, window or context)
    return typed_bytes == 4 and min(context, long_block(repeats)) * repeats * seen * width >= LARGE_BLOCK


def short_conv_tokens(width: int) -> int:
    """Tokens of a piece of the gated short convolution over `width` channels."""
    return max(32, SHORT_CONV_ELEMENTS // width)


def long_block(repeats: int) -> int:
    """Tokens of a long block of queries."""
    return max(64, min(256, 512 // repeats))


def short_block(repeats: int, typed_bytes: int) -> int:
    """Tokens of a short one: bf16 products are so much faster that a block needs more rows to be worth its calls."""
    return max(64, 256 // typed_bytes // repeats)


def pairs_together(repeats: int, width: int, context: int, window: int | None, typed_bytes: int) -> int:
    """Pairs of sequence and key/value head that are computed at once; arguments as for `long_query_blocks`."""
    if long_query_blocks(repeats, width, context, window, typed_bytes):
        return 1
    return short_pairs(repeats, context, window, typed_bytes)


def short_pairs(repeats: int, context: int, window: int | None, typed_bytes: int) -> int:
    """As many pairs as the cache holds the scores of, where blocks are short.

    Args:
        repeats: query heads of a key/value head.
        context: tokens of a sequence.
        window: tokens that a query sees; None is all.
        typed_bytes: of an element in the type of the products.
    """
    rows = short_block(repeats, typed_bytes)
    seen = min(context, min(context, window or context) + rows)
    return max(1, CACHED_BYTES // (rows * repeats * seen * typed_bytes))


def keys_seen(block: int, context: int, window: int | None) -> float:
    """Mean number of scores a query: its row spans the keys that any query of its block sees.

    Args:
        block: tokens of a block of queries.
        context: tokens of a sequence.
        window: tokens that a query sees; None is all.
    """
    rows = 0
    for start in range(0, context, block):
        end = min(start + block, context)
        first = 0 if window is None or window >= context else max(0, start - window + 1)
        rows += (end - start) * (end - first)
    return rows / context


def scan_chunk(asked: int, context: int) -> int:
    """Tokens of a chunk of the Mamba-2 scan."""
    return min(asked, SCAN_CHUNK, context)


def delta_chunk(asked: int, key_width: int) -> int:
    """Tokens of a chunk of a delta rule: more cost more products within the chunk than they save of the state's.

    Args:
        asked: at most.
        key_width: of a head.
    """
    return min(asked, max(32, key_width // 2))


def span_chunks(heads: int, chunk: int, width: int, element_bytes: int) -> int:
    """Chunks of a delta rule that are computed together.

    Args:
        heads: of all sequences.
        chunk: tokens of a chunk.
        width: of a head's keys or values, the wider ones.
        element_bytes: of a number.
    """
    return max(1, SPAN_BYTES // (heads * chunk * max(chunk, width) * element_bytes))


def row_alignment(choices: int, experts: int) -> int:
    """Rows on whose multiples each expert's slice ends: a power of two, at most 1/8 of an even slice."""
    most = choices // (8 * experts)
    return min(MOST_ALIGNED, 1 << (most.bit_length() - 1)) if most else 1


def aligned_rows(tokens: int, top_k: int, experts: int) -> float:
    """Rows sorted by expert: one for each choice, and on average half of the alignment an expert.

    Args:
        tokens: routed together.
        top_k: experts of a token.
        experts: among which the rows are sorted.
    """
    return tokens * top_k + experts * (row_alignment(tokens * top_k, experts) - 1) / 2
