"""What decoding remembers: each block's tensors and how many tokens went by."""

from __future__ import annotations

from dataclasses import dataclass

from harmony_core.models.block import BlockState


@dataclass
class DecodingState:
    """Made by `HybridLM.init_state`, changed in place by `HybridLM.step`.

    Args:
        blocks: cache and recurrent state of each block, in order.
        max_context: tokens that the caches have room for.
        position: tokens so far.
    """

    blocks: list[BlockState]
    max_context: int
    position: int = 0

    def num_elements(self) -> int:
        """Elements of all tensors, the whole batch."""
        return sum(tensor.numel() for block in self.blocks for tensor in block.values())
