"""Another d_model."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit, fitted_blocks, repair
from harmony_core.space.space import Space


@register
def width(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Draws another width, one that meets the budget if there is one; blocks that do not fit become the nearest.

    Arguments as for `mutate`.
    """
    others = [d_model for d_model in space.d_model if d_model != parent.d_model]
    edit = None
    for d_model in rng.permutation(np.array(others, dtype=np.int64)).tolist():
        blocks = fitted_blocks(space, parent.blocks, parent.d_model, d_model)
        if blocks is None:
            continue
        moved = parent.replace(d_model=d_model, blocks=blocks)
        edit = Edit(moved, f"width {parent.d_model} -> {d_model}", names_d_model=True)
        if repair(space, edit) is not None:
            break
    return edit
