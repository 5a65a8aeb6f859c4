"""Another kind in a block's place."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.space import Space
from harmony_core.space.variation import Drawn, with_blocks


@register
def replace(space: Space, parent: Architecture, rng: np.random.Generator) -> Drawn | None:
    """Draws a block of another kind that may stand where one block stood."""
    index = int(rng.integers(len(parent.blocks)))
    old = parent.blocks[index]
    kinds = space.unit_kinds(parent.d_model)[index % space.unit_size]
    others = tuple(kind for kind in kinds if kind != old.kind)
    if not others:
        return None
    new = space.choices(parent.d_model).draw(others, rng)
    blocks = (*parent.blocks[:index], new, *parent.blocks[index + 1 :])
    return with_blocks(parent, blocks), f"replace block {index}: {old.kind} -> {new.kind}"
