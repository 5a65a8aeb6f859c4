"""What a block moves and starts besides its weights: activations through memory, and kernels."""

from __future__ import annotations

from harmony_core.architecture import Block
from harmony_core.machines.blocks import Traffic, costs_of


def block_traffic(block: Block, d_model: int) -> Traffic:
    """Traffic of a block's forward pass, its norm and residual addition included."""
    return costs_of(block).traffic_with_norm(block, d_model)
