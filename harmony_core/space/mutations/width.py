"""Another d_model."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations.registry import register
from harmony_core.space.space import Space
from harmony_core.space.variation import Drawn, fitted_blocks, with_blocks


@register
def width(space: Space, parent: Architecture, rng: np.random.Generator) -> Drawn | None:
    """Draws another width; blocks that do not fit it become the nearest of their kind."""
    others = [d_model for d_model in space.d_model if d_model != parent.d_model]
    if not others:
        return None
    d_model = others[int(rng.integers(len(others)))]
    blocks = fitted_blocks(space, parent.blocks, parent.d_model, d_model)
    if blocks is None:
        return None
    return with_blocks(parent, blocks, d_model), f"width {parent.d_model} -> {d_model}"
