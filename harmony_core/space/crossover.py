"""Two parents: the upper part of one over the lower part of the other, cut at the same depth."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.repair import Edit, fitted_blocks
from harmony_core.space.space import Space
from harmony_core.space.variation import Variation, draw_until_accepted, require_member

CROSSOVER_TRIES = 50


def crossover(space: Space, first: Architecture, second: Architecture, rng: np.random.Generator) -> Variation:
    """The first k units of `first` followed by those of `second` from unit k on, at one parent's width.

    Blocks that do not fit that width become the nearest of their kind. Vocabulary is the first's, width and
    every other field one parent's.

    Args:
        space: both parents are in it, and so is the child.
        first: has the upper part, next to the embedding.
        second: has the lower part.
        rng: draws the cut, and the parent that gives width and fields.

    Raises:
        DeadEnd: no cut gives a child that differs from both and meets the constraints.
        UserError: a parent is not in the space.
    """
    require_member(space, first)
    require_member(space, second)
    return draw_until_accepted(
        "crossover", space, lambda: cross_once(space, first, second, rng), CROSSOVER_TRIES, {first.id, second.id}
    )


def cross_once(space: Space, first: Architecture, second: Architecture, rng: np.random.Generator) -> Edit | None:
    """One draw of a cut and of the parent that gives the width; None where there is no cut.

    Args:
        space: gives the unit that is cut between, and the choices at a width.
        first: has the part next to the embedding.
        second: has the rest.
        rng: draws both.
    """
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
    child = frame.replace(vocab_size=first.vocab_size, blocks=upper + lower)
    operator = f"crossover at {space.unit_name} {cut}: {first.id}[:{cut}] + {second.id}[{cut}:]"
    return Edit(child, f"{operator}, d_model {frame.d_model}", names_d_model=True)
