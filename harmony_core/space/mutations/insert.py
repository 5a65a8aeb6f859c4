"""One unit more."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.sampling import draw_unit
from harmony_core.space.space import Space
from harmony_core.space.variation import kinds_text, units_of, with_units


@register
def insert(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Draws a new unit and puts it anywhere, the ends included; arguments as for `mutate`."""
    units = units_of(space, parent)
    if len(units) >= space.depth.max:
        return None
    index = int(rng.integers(len(units) + 1))
    unit = draw_unit(space, parent.d_model, rng)
    operator = f"insert {space.unit_name} {index}: {kinds_text(unit)}"
    return Edit(with_units(parent, [*units[:index], unit, *units[index:]]), operator)
