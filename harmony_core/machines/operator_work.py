"""How much of each unit of `OperatorCosts` one forward pass of a block has; training is priced by the same amounts.

Kernels are the operations that the CPU's implementations in `harmony_core.models` start for a short sequence, views
left out, as a third of those of forward and backward pass; a test counts them. Those of further chunks and blocks of
queries are small beside what they compute.
"""

from __future__ import annotations

import math

from harmony_core.architecture import Architecture, Block
from harmony_core.machines.blocks import NORM_KERNELS, Shape, Work, costs_of, num_norms
from harmony_core.tiling import logits_rows


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
    a_token, once = costs_of(block).work(block, shape, train)
    # Kinds count one norm's operations with their own.
    further = NORM_KERNELS * (num_norms(block) - 1)
    once = {**once, "kernel": once.get("kernel", 0.0) + further} if further else once
    return {**{unit: amount * shape.tokens for unit, amount in a_token.items()}, **once}


def _embedding_work(shape: Shape) -> Work:
    """Of looking up the tokens' vectors, and of what a pass costs before any block."""
    return {"feed_forward_element": 2.0 * shape.tokens * shape.d_model, "kernel": 1.0, "step": 1.0}


def _head_work(vocab_size: int, shape: Shape) -> Work:
    """Of the last norm, the product with the vocabulary, and the loss where there is one."""
    logits = float(shape.tokens * vocab_size)
    slices = math.ceil(shape.tokens / logits_rows(vocab_size))
    return {
        "product": 2 * shape.d_model * logits,
        "logit": logits,
        "feed_forward_element": 3.0 * shape.tokens * shape.d_model,
        "kernel": 8.0 + 14.0 * slices,
    }
