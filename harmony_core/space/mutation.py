"""One parent: an operator of the registry, drawn until a child is in the space."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.mutations import MUTATIONS
from harmony_core.space.space import Space
from harmony_core.space.variation import Drawn, Variation, draw_until_accepted, require_member

MUTATE_TRIES = 200


def mutate(space: Space, parent: Architecture, rng: np.random.Generator) -> Variation:
    """A child of `parent`, which it differs from, by one operator; each operator is as likely.

    Raises:
        DeadEnd: no draw gave a child that meets the constraints.
        UserError: the parent is not in the space.
    """
    require_member(space, parent)
    operators = tuple(MUTATIONS.values())

    def draw() -> Drawn | None:
        return operators[int(rng.integers(len(operators)))](space, parent, rng)

    return draw_until_accepted("mutation", space, draw, MUTATE_TRIES, {parent.id})
