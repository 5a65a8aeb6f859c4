"""Into what pieces the CPU's operators cut their work: what they compute beyond the formulas, and what they keep.

The same sizes as in `harmony_core.models` (`ops/blocked_plan.py`, `kernels.py`, `ops/assignments.py`), which a test
holds against these.
"""

from __future__ import annotations

# Keys seen up to which attention keeps its weights for the backward pass.
KEPT_KEYS = 512
# Multiply-adds of one head's block from which blocks of queries are longer, in fp32.
LARGE_BLOCK = 6 << 20
# Bytes of the scores of a short block of queries over the sequences and heads that are computed together.
CACHED_BYTES = 1 << 20
# Elements of the logits that the loss sees at a time.
LOGITS_SLICE = 1 << 19
# Tokens of a chunk of the Mamba-2 scan at most.
SCAN_CHUNK = 64


def query_block(repeats: int, width: int, context: int, window: int | None, typed_bytes: int) -> int:
    """Tokens of a block of queries, whose scores are one matrix; arguments as for `long_query_blocks`."""
    if long_query_blocks(repeats, width, context, window, typed_bytes):
        return _long_block(repeats)
    return max(64, 256 // typed_bytes // repeats)


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
    return typed_bytes == 4 and min(context, _long_block(repeats)) * repeats * seen * width >= LARGE_BLOCK


def _long_block(repeats: int) -> int:
    return max(64, min(256, 512 // repeats))


def pairs_together(repeats: int, width: int, context: int, window: int | None, typed_bytes: int) -> int:
    """Pairs of a sequence and a key/value head whose attention is computed at once; arguments as before."""
    if long_query_blocks(repeats, width, context, window, typed_bytes):
        return 1
    rows = query_block(repeats, width, context, window, typed_bytes)
    seen = min(context, min(context, window or context) + rows)
    return max(1, CACHED_BYTES // (rows * repeats * seen * typed_bytes))


def keys_seen(block: int, context: int, window: int | None) -> float:
    """Mean number of scores a query: its row spans the keys that any query of its block of `block` tokens sees."""
    rows = 0
    for start in range(0, context, block):
        end = min(start + block, context)
        first = 0 if window is None or window >= context else max(0, start - window + 1)
        rows += (end - start) * (end - first)
    return rows / context


def scan_chunk(asked: int, context: int) -> int:
    """Tokens of a chunk of the Mamba-2 scan."""
    return min(asked, SCAN_CHUNK, context)


def aligned_rows(tokens: int, top_k: int, experts: int) -> float:
    """Rows sorted by expert: one for each choice, and on average half of the alignment an expert."""
    most = tokens * top_k // (8 * experts)
    align = min(64, 1 << (most.bit_length() - 1)) if most else 1
    return tokens * top_k + experts * (align - 1) / 2
