"""A run of units, once more."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import units_of, with_units


@register
def duplicate(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Puts a copy of a run of units right behind it; each length that fits is as likely.

    Arguments as for `mutate`.
    """
    units = units_of(space, parent)
    longest = min(len(units), space.depth.max - len(units))
    if longest < 1:
        return None
    length = int(rng.integers(1, longest + 1))
    start = int(rng.integers(len(units) - length + 1))
    end = start + length
    run = f"{space.unit_name} {start}" if length == 1 else f"{space.unit_name}s {start}-{end - 1}"
    return Edit(with_units(parent, [*units[:end], *units[start:]]), f"duplicate {run}")
