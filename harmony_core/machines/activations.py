"""What a block of `harmony_core.models` holds for a token: kept from forward to backward, and for a moment in backward.

Counted from the modules: what each autograd function saves, views of one tensor once. fp32 elements stay fp32 under
autocast (the residual stream, norms' inputs, convolutions, states); typed ones are in the type of the products.
"""

from __future__ import annotations

from harmony_core.architecture import Block
from harmony_core.machines.blocks import Shape, costs_of, num_norms


def kept_bytes(block: Block, shape: Shape) -> float:
    """Bytes that a block keeps from its forward pass to its backward pass, its norm and residual sum included."""
    kept = costs_of(block).kept_memory(block, shape)
    # A norm keeps its input, which is the sum before it or the block's output, and a scale a token; the output of one
    # before the block is the block's own input.
    norms = num_norms(block)
    a_token = shape.typed_bytes * (kept.typed + shape.d_model) + 4 * (kept.fp32 + norms * (shape.d_model + 1))
    # Under autocast each product keeps its weight's copy in the type of the products.
    weights = block.num_params(shape.d_model) * shape.typed_bytes if shape.typed_bytes < 4 else 0
    return shape.tokens * a_token + 4 * kept.once + weights


def working_bytes(block: Block, shape: Shape) -> float:
    """Bytes that a block's backward pass makes beside what is kept: its gradients on their way through it."""
    kept = costs_of(block).kept_memory(block, shape)
    # The residual sum's gradient waits for the block's.
    return shape.tokens * (shape.typed_bytes * kept.working_typed + 4 * (kept.working_fp32 + shape.d_model))
