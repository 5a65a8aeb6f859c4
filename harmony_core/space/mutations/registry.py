"""The mutation operators by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.space.space import Space
from harmony_core.space.variation import Drawn

# Takes the space, a parent whose structure is the space's, and the source of chance. Returns a child whose
# structure is the space's and differs from the parent's, with a text that says what was done; or None where
# the operator does not apply. Constraints are the caller's to check.
Mutation = Callable[[Space, Architecture, np.random.Generator], Drawn | None]

MUTATIONS: dict[str, Mutation] = {}


def register(mutation: Mutation) -> Mutation:
    """Makes a mutation known under its function's name."""
    name = mutation.__name__
    if name in MUTATIONS:
        raise ValueError(f"mutation {name!r} is registered twice")
    MUTATIONS[name] = mutation
    return mutation
