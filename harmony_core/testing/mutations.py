"""What every mutation must hold: a child of the space's structure that differs from its parent, from the seed alone."""

from __future__ import annotations

import numpy as np

from harmony_core.space import Space, sample
from harmony_core.space.mutations import Mutation

DRAWS = 20
VOCAB = 257


def check_mutation(mutation: Mutation, space: Space) -> None:
    """Applies it to `DRAWS` samples of a space.

    Raises:
        AssertionError: it never applies, leaves the space's structure, answers with the parent, or does not follow from
            its generator.
    """
    applied = 0
    for seed in range(DRAWS):
        parent = sample(space, VOCAB, np.random.default_rng(seed)).architecture
        edits = [mutation(space, parent, np.random.default_rng([seed, 1])) for _ in range(2)]
        assert edits[0] == edits[1], "the same seed gave another child"
        edit = edits[0]
        if edit is None:
            continue
        applied += 1
        assert space.structure_violations(edit.architecture) == [], edit.operator
        assert edit.architecture.id != parent.id, edit.operator
        assert edit.operator, "it does not say what it did"
    assert applied, f"it applied to none of {DRAWS} samples"
