"""One unit fewer."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import kinds_text, units_of, with_units


@register
def delete(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """Takes any unit out; arguments as for `mutate`."""
    units = units_of(space, parent)
    if len(units) <= space.depth.min:
        return None
    index = int(rng.integers(len(units)))
    operator = f"delete {space.unit_name} {index}: {kinds_text(units[index])}"
    return Edit(with_units(parent, [*units[:index], *units[index + 1 :]]), operator)
