"""Two units change places."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import units_of, with_units


@register
def swap(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Exchanges any unit with another that is not the same; arguments as for `mutate`."""
    units = units_of(space, parent)
    first = int(rng.integers(len(units)))
    others = [index for index, unit in enumerate(units) if unit != units[first]]
    if not others:
        return None
    second = others[int(rng.integers(len(others)))]
    units[first], units[second] = units[second], units[first]
    low, high = sorted((first, second))
    return Edit(with_units(parent, units), f"swap {space.unit_name}s {low} and {high}")
