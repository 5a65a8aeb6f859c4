"""A mutation: the stack the other way up."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import units_of, with_units


@register
def reverse(space: Space, parent: Architecture, rng: np.random.Generator) -> Edit | None:
    """None where nothing would change."""
    units = units_of(space, parent)
    return None if units == units[::-1] else Edit(with_units(parent, units[::-1]), "reverse")
