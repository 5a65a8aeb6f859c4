"""How much of each unit of `OperatorCosts` one forward pass of a block has; training is priced by the same amounts.

Kernels are the operations that the CPU's implementations in `harmony_core.models` start for a short sequence, views
left out, as a third of those of forward and backward pass; a test counts them. Those of further chunks and blocks of
queries are small beside what they compute.
"""

from __future__ import annotations

import math
from functools import singledispatch

from harmony_core.architecture import MLA, MLP, Architecture, Attention, Block, Hyena, HyenaLI, Mamba, Mamba2, MoE
from harmony_core.architecture.mlp import Activation
from harmony_core.machines.activations import Heads, Shape
from harmony_core.machines.chunks import KEPT_KEYS, LOGITS_SLICE, long_query_blocks, scan_chunk
from harmony_core.machines.traffic import block_traffic

Work = dict[str, float]


def model_work(architecture: Architecture, batch_size: int, context: int, typed_bytes: int, train: bool) -> list[Work]:
    """Units of work of each part, as `predict_parts` has them: embedding, blocks, head, and in training the optimiser.

    Args:
        architecture: what runs.
        batch_size: sequences.
        context: tokens a sequence.
        typed_bytes: of an element in the type of the products.
        train: whether a backward pass and an optimiser's step follow.
    """
    shape = Shape(architecture.d_model, batch_size, context, typed_bytes)
    blocks = [block_work(block, shape, train) for block in architecture.blocks]
    works = [_embedding_work(shape), *blocks, _head_work(architecture.vocab_size, shape)]
    return [*works, {"parameter": float(architecture.num_params())}] if train else works


def block_work(block: Block, shape: Shape, train: bool) -> Work:
    """Units of work of a block over all tokens of a batch, its norm and residual sum included.

    Args:
        block: what runs.
        shape: its width, the batch, and the type of the products.
        train: whether a backward pass follows; it decides what attention over long contexts computes twice.
    """
    a_token, once = _work(block, shape, train)
    return {**{unit: amount * shape.tokens for unit, amount in a_token.items()}, **once}


def _embedding_work(shape: Shape) -> Work:
    """Of looking up the tokens' vectors, and of what a pass costs before any block."""
    return {"feed_forward_element": 2.0 * shape.tokens * shape.d_model, "kernel": 1.0, "step": 1.0}


def _head_work(vocab_size: int, shape: Shape) -> Work:
    """Of the last norm, the product with the vocabulary, and the loss where there is one."""
    logits = float(shape.tokens * vocab_size)
    slices = math.ceil(logits / LOGITS_SLICE)
    return {
        "product": 2 * shape.d_model * logits,
        "logit": logits,
        "feed_forward_element": 3.0 * shape.tokens * shape.d_model,
        "kernel": 8.0 + 14.0 * slices,
    }


@singledispatch
def _work(block: Block, shape: Shape, train: bool) -> tuple[Work, Work]:
    """Units a token, and units a block."""
    raise TypeError(f"the cost model does not know {block.kind!r}; add its work to machines/operator_work.py")


def _elements(block: Block, shape: Shape) -> float:
    return float(block_traffic(block, shape.d_model).elements)


@_work.register(Attention)
@_work.register(MLA)
def _attention(block: Attention | MLA, shape: Shape, train: bool) -> tuple[Work, Work]:
    heads = Heads.of(block)
    scores = heads.scores(shape)
    flops = 2 * scores * (heads.keys + heads.values)
    if train and min(shape.context, heads.window or shape.context) > KEPT_KEYS:
        # A fourth pass over the scores: they are made again, and with them the product that they are.
        flops, scores = flops + 2 * scores * heads.keys / 3, scores * 4 / 3
    work = {
        "product": 2.0 * block.num_active_params(shape.d_model),
        "attention_score": scores,
        "attention_element": _elements(block, shape),
    }
    # Long blocks of queries go to oneDNN one by one, as products with weights do.
    long = long_query_blocks(heads.repeats, heads.keys, shape.context, heads.window, shape.typed_bytes)
    unit = "product" if long else "attention_product"
    work[unit] = work.get(unit, 0.0) + flops
    latents = 9 + 8 * (block.q_lora_rank is not None) if isinstance(block, MLA) else 0
    norms = 18 if isinstance(block, Attention) and block.qk_norm else 0
    return work, {"kernel": 29.0 + latents + norms}


@_work.register
def _mlp(block: MLP, shape: Shape, train: bool) -> tuple[Work, Work]:
    return {
        "product": 2.0 * block.num_params(shape.d_model),
        "exponential": _exponentials(block.d_ff, block.activation),
        "feed_forward_element": _elements(block, shape),
    }, {"kernel": 12.0}


def _exponentials(inner: int, activation: Activation) -> float:
    return 0.0 if activation in ("relu2", "bilinear") else float(inner)


@_work.register
def _moe(block: MoE, shape: Shape, train: bool) -> tuple[Work, Work]:
    inner = block.top_k * block.d_expert + block.shared_width
    idle = (1 - block.top_k / block.n_routed) ** shape.tokens
    return {
        "product": 2.0 * block.num_active_params(shape.d_model),
        "exponential": _exponentials(inner, block.activation),
        "feed_forward_element": _elements(block, shape),
    }, {"expert": block.n_routed * (1 - idle), "kernel": 55.0}


@_work.register
def _mamba2(block: Mamba2, shape: Shape, train: bool) -> tuple[Work, Work]:
    inner, heads = block.d_inner(shape.d_model), block.num_heads(shape.d_model)
    chunk = scan_chunk(block.chunk_size, shape.context)
    projections = shape.d_model * (2 * inner + block.conv_dim(shape.d_model) + heads)
    within, states = 2 * chunk * (block.n_groups * block.d_state + inner), 4 * inner * block.d_state
    return {
        "product": 2.0 * projections,
        "exponential": float(block.conv_dim(shape.d_model) + inner),
        "scan_product": float(within + states),
        "scan_decay": float(heads * chunk),
        "scan_element": _elements(block, shape),
    }, {"kernel": 90.0}


@_work.register
def _mamba(block: Mamba, shape: Shape, train: bool) -> tuple[Work, Work]:
    flops = block.flops_per_token(shape.d_model, shape.context, "prefill")
    weights = 2.0 * block.num_params(shape.d_model)
    inner = block.d_inner(shape.d_model)
    # The scan keeps every token's state in memory: each is an element, as the decays between a chunk's tokens are.
    return {
        "product": weights,
        "exponential": 3.0 * inner,
        "scan_product": max(0.0, flops - weights),
        "scan_decay": float(inner * block.d_state),
        "scan_element": _elements(block, shape),
    }, {"kernel": 60.0}


@_work.register
def _hyena(block: Hyena, shape: Shape, train: bool) -> tuple[Work, Work]:
    unit, kernels = "convolution_product", 25.0
    if isinstance(block, HyenaLI):
        unit, kernels = "modal_product", 40.0
    return {
        "product": 2.0 * 4 * shape.d_model**2,
        unit: block.filter_flops_per_token(shape.d_model, shape.context, "prefill"),
        "convolution_element": _elements(block, shape),
    }, {"kernel": kernels}
