"""One-shot: all units of depth at once, by Bayesian optimisation (Composer, arXiv:2510.00379)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.evolution.context import Context
from harmony_core.evolution.engine import ENUMERABLE, Engine, EngineConfig, Open, Picks
from harmony_core.evolution.registry import register
from harmony_core.search.objective import Objective
from harmony_core.space import DeadEnd, Depth, Variation, every_architecture, mutate, num_architectures, sample

# Where a space is too large to be looked at whole: so many samples, and so many mutations of the best so far.
_SAMPLES, _MUTATIONS, _BEST = 256, 256, 8


class OneShot(Engine):
    """Every design of the space's greatest depth is open; of a large space, many samples and mutations of the best."""

    def open(self, context: Context, rng: np.random.Generator) -> Open:
        """As `Engine.open`."""
        deepest = Depth(min=context.space.depth.max, max=context.space.depth.max)
        space = context.space.model_copy(update={"depth": deepest})
        if num_architectures(space) <= ENUMERABLE:
            return Open(list(every_architecture(space, context.vocab_size)), "whole")
        known = self.fitted(context)
        parents = [context.architecture(one) for one in sorted(known, key=known.__getitem__)[-_BEST:]]
        parents = [one for one in parents if not space.structure_violations(one)]
        # To pick at random, no more are needed than this generation has candidates.
        samples = self.population + (_SAMPLES if known else 0)
        drawn = [
            *_drawn(samples, lambda number: sample(space, context.vocab_size, rng)),
            *_drawn(_MUTATIONS if parents else 0, lambda number: mutate(space, parents[number % len(parents)], rng)),
        ]
        return Open(list({one.id: one for one in drawn}.values()), "whole")


def _drawn(tries: int, draw: Callable[[int], Variation]) -> Iterator[Architecture]:
    """What comes of so many tries; a dead end is a try."""
    for number in range(tries):
        with contextlib.suppress(DeadEnd):
            yield draw(number).architecture


@register
class OneShotConfig(EngineConfig):
    """As `EngineConfig`, but that it picks by Bayesian optimisation unless told otherwise."""

    kind: Literal["one_shot"] = "one_shot"
    picks: Picks = "bayesian"

    def make(self, objectives: Sequence[Objective], population: int) -> OneShot:
        """As `AlgorithmConfig.make`."""
        return OneShot(self, objectives, population)
