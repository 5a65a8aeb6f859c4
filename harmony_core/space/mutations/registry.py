"""The mutation operators by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.plugins import find
from harmony_core.space.repair import Edit
from harmony_core.space.space import Space

# A mutation takes the space, a parent whose structure is the space's, and the source of chance. It returns a child
# whose structure is the space's and differs from the parent's, with a text that says what was done; or None where the
# operator does not apply. The caller sees to the constraints.
Mutation = Callable[[Space, Architecture, np.random.Generator], Edit | None]

MUTATIONS: dict[str, Mutation] = {}


def find_mutation(name: str) -> Mutation | None:
    """The mutation of a name, HARMONY's own or of a distribution that is installed."""
    return find("mutations", name, MUTATIONS)


def register(mutation: Mutation) -> Mutation:
    """Makes a mutation known under its function's name."""
    name = mutation.__name__
    if name in MUTATIONS:
        raise ValueError(f"mutation {name!r} is registered twice")
    MUTATIONS[name] = mutation
    return mutation
