"""Another kind in a block's place."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import near_block, with_block


@register
def replace(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Draws a block of another kind that may stand where one block stood; arguments as for `mutate`."""
    index = int(rng.integers(len(parent.blocks)))
    old = parent.blocks[index]
    kinds = space.unit_kinds(parent.d_model)[index % space.unit_size]
    others = tuple(kind for kind in kinds if kind != old.kind)
    if not others:
        return None
    new = space.choices(parent.d_model).draw(others, rng)
    operator = f"replace block {index}: {old.kind} -> {new.kind}"
    return Edit(with_block(parent, index, new), operator, near_block(space, index))
