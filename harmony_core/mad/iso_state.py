"""Mixers of equal state: what a recurrent mixer remembers is set to one size for all.

Poli et al. 2024 (arXiv:2403.17844), section 3.2: 4,096 elements in all, 2,048 a mixer of two.
"""

from __future__ import annotations

from harmony_core.architecture import Architecture, Block
from harmony_core.space.block_width import nearest_width

TOTAL = 4096


def iso_state(architecture: Architecture, total: int = TOTAL) -> tuple[Architecture, str]:
    """The architecture with an equal share of the state in each mixer, as near as whole widths come, and what is told.

    The field that a budget is solved with (`Block.width_field`) is what changes. Mixers without one (Hyena), and those
    whose memory is a cache that grows (attention), stay as they are.

    Args:
        architecture: usually a projection.
        total: elements of state a sequence, of all mixers together.
    """
    share = total / max(1, architecture.num_mixers)
    blocks, told = [], []
    for block in architecture.blocks:
        if block.role == "mixer":
            block = _of_state(block, architecture.d_model, share)
            told.append(f"{block.kind} {block.state_elements(architecture.d_model)}")
        blocks.append(block)
    return architecture.replace(blocks=tuple(blocks)), f"state elements of the mixers: {', '.join(told)}"


def _of_state(block: Block, d_model: int, share: float) -> Block:
    if block.width_field is None or not block.state_elements(d_model):
        return block
    return nearest_width(block, d_model, lambda one: one.state_elements(d_model), share)
