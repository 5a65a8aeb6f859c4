"""One parent: an operator of the registry, drawn until a child is in the space."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.space.mutations import OWN, Mutation, find_mutation
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space
from harmony_core.space.variation import Variation, draw_until_accepted, require_member

MUTATE_TRIES = 50


def mutate(space: Space, parent: Architecture, rng: np.random.Generator) -> Variation:
    """A child of `parent`, which it differs from, by one operator; each operator is as likely.

    Args:
        space: its mutations are drawn from, and its constraints hold for the child.
        parent: is not changed.
        rng: draws the operator, and within it.

    Raises:
        DeadEnd: no draw gave a child that meets the constraints.
        UserError: the parent is not in the space.
    """
    require_member(space, parent)
    operators = mutations_of(space)

    def draw() -> Edit | None:
        return operators[int(rng.integers(len(operators)))](space, parent, rng)

    return draw_until_accepted("mutation", space, draw, MUTATE_TRIES, {parent.id})


def mutations_of(space: Space) -> tuple[Mutation, ...]:
    """HARMONY's own operators, and those that the space asks for.

    Raises:
        UserError: one of these is not installed, is HARMONY's own, or is asked for twice.
    """
    for index, name in enumerate(space.mutations):
        if name in (*OWN, *space.mutations[:index]):
            raise UserError(f"mutations.{index}", name, "it is drawn already; leave it out")
    found = {name: find_mutation(name) for name in (*OWN, *space.mutations)}
    if missing := [name for name, mutation in found.items() if mutation is None]:
        raise UserError("mutations", missing[0], "not installed; install what adds it, or leave it out")
    return tuple(mutation for mutation in found.values() if mutation is not None)
