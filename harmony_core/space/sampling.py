"""Drawing an architecture from the whole space."""

from __future__ import annotations

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.space.space import Space
from harmony_core.space.variation import DeadEnd, Drawn, Unit, Variation, draw_until_accepted

SAMPLE_TRIES = 5_000


class NoSample(UserError, DeadEnd):
    """No sample met the constraints: an error where a space is checked, a dead end like others where a search draws.

    Args:
        dead_end: what was thrown away; the constraint that most draws broke is named.
    """

    def __init__(self, dead_end: DeadEnd) -> None:
        DeadEnd.__init__(self, dead_end.stage, dead_end.tries, dead_end.rejected)
        (_, reason), count = max(dead_end.rejected.items(), key=lambda item: item[1])
        fix = f"none of {dead_end.tries} draws met the constraints, {count} of them broke this one; widen it"
        UserError.__init__(self, "space.constraints", reason, f"{fix}, or the depth, widths and domains")


def sample(space: Space, vocab_size: int, rng: np.random.Generator) -> Variation:
    """An architecture of the space: width and depth uniform, kinds by weight, combinations uniform.

    Budgets are met by drawing again, so within them the distribution is this one, conditioned.

    Args:
        space: what may be drawn.
        vocab_size: the tokenizer's.
        rng: the only source of chance.

    Raises:
        NoSample: no draw met the constraints.
    """
    try:
        return draw_until_accepted("sample", space, lambda: _draw(space, vocab_size, rng), SAMPLE_TRIES)
    except DeadEnd as dead_end:
        raise NoSample(dead_end) from None


def draw_unit(space: Space, d_model: int, rng: np.random.Generator) -> Unit:
    """One layer, or one block when the pattern is free."""
    choices = space.choices(d_model)
    return tuple(choices.draw(kinds, rng) for kinds in space.unit_kinds(d_model))


def _draw(space: Space, vocab_size: int, rng: np.random.Generator) -> Drawn:
    d_model = space.d_model[int(rng.integers(len(space.d_model)))]
    depth = int(rng.integers(space.depth.min, space.depth.max + 1))
    architecture = Architecture(
        d_model=d_model,
        vocab_size=vocab_size,
        tie_embeddings=space.tie_embeddings[int(rng.integers(len(space.tie_embeddings)))],
        blocks=tuple(block for _ in range(depth) for block in draw_unit(space, d_model, rng)),
    )
    return architecture, "sample"
