"""Another depth with the same proportions."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import units_of, with_units


@register
def depth(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Draws another depth and stretches or thins the units to it, each keeping its relative place.

    Arguments as for `mutate`.
    """
    units = units_of(space, parent)
    others = [count for count in range(space.depth.min, space.depth.max + 1) if count != len(units)]
    if not others:
        return None
    count = others[int(rng.integers(len(others)))]
    stretched = [units[index * len(units) // count] for index in range(count)]
    return Edit(with_units(parent, stretched), f"depth {len(units)} -> {count} {space.unit_name}s")
