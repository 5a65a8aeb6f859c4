"""Two parents: the upper part of one over the lower part of the other, cut at the same depth."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.space import Space
from harmony_core.space.variation import Drawn, Variation, draw_until_accepted, fitted_blocks, require_member

CROSSOVER_TRIES = 100


def crossover(space: Space, first: Architecture, second: Architecture, rng: np.random.Generator) -> Variation:
    """The first k units of `first` followed by those of `second` from unit k on, at one parent's width.

    Blocks that do not fit that width become the nearest of their kind. Vocabulary is the first's,
    width and tying are one parent's.

    Raises:
        DeadEnd: no cut gives a child that differs from both and meets the constraints.
        UserError: a parent is not in the space.
    """
    require_member(space, first)
    require_member(space, second)
    return draw_until_accepted(
        "crossover", space, lambda: _draw(space, first, second, rng), CROSSOVER_TRIES, {first.id, second.id}
    )


def _draw(space: Space, first: Architecture, second: Architecture, rng: np.random.Generator) -> Drawn | None:
    size = space.unit_size
    last = min(len(first.blocks) // size, len(second.blocks) // size - 1)
    if last < 1:
        return None
    cut = int(rng.integers(1, last + 1))
    frame = (first, second)[int(rng.integers(2))]
    upper = fitted_blocks(space, first.blocks[: cut * size], first.d_model, frame.d_model)
    lower = fitted_blocks(space, second.blocks[cut * size :], second.d_model, frame.d_model)
    if upper is None or lower is None:
        return None
    child = Architecture(
        d_model=frame.d_model,
        vocab_size=first.vocab_size,
        tie_embeddings=frame.tie_embeddings,
        blocks=upper + lower,
    )
    operator = f"crossover at {space.unit_name} {cut}: {first.id}[:{cut}] + {second.id}[{cut}:]"
    return child, f"{operator}, d_model {frame.d_model}"
