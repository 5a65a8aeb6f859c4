"""Regularized (aging) evolution: who is oldest dies, however good (Real et al. 2019, arXiv:1802.01548)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Self

import numpy as np
from pydantic import model_validator

from harmony_core.errors import UserError
from harmony_core.evolution.algorithms.nsga2 import NSGA2
from harmony_core.evolution.registry import register
from harmony_core.evolution.scored import Scored
from harmony_core.evolution.select_and_breed import SelectAndBreedConfig
from harmony_core.search.objective import Objective

# The paper's queue of 100 and samples of 25 (section 3.2, Algorithm 1).
_QUEUE_OVER_SAMPLE, _LARGEST_SAMPLE = 4, 25
_QUEUE_OVER_POPULATION = 4


class RegularizedEvolution(NSGA2):
    """Algorithm 1 of the paper: a queue of the youngest P; each child mutates the best of S drawn from it.

    P is `survivors`, S is `tournament_size`, drawn with replacement; there is no crossover. The best is the first by
    non-dominated rank and crowding, where the paper has one accuracy. The paper adds a child and removes the oldest
    at a time; here a generation comes and its number goes at once, so that P has to be several times the
    population for anybody to have descendants for as long as in the paper: four times by default, and S a
    quarter of P as there, at most its 25. Where the paper fills the queue with random models first, here
    whoever is in it breeds, since a search may be shorter than its queue. Those that failed take no place in it.
    """

    default_crossover = 0.0

    def default_survivors(self, population: int) -> int:
        """As `SelectAndBreed.default_survivors`."""
        return _QUEUE_OVER_POPULATION * population

    def default_tournament(self) -> int:
        """As `SelectAndBreed.default_tournament`."""
        return max(1, min(self.num_survivors // _QUEUE_OVER_SAMPLE, _LARGEST_SAMPLE))

    def keep(self, best_first: Sequence[Scored]) -> list[Scored]:
        """As `SelectAndBreed.keep`: by age, not by grade."""
        youngest = {one.key for one in sorted(best_first, key=lambda one: one.key)[-self.num_survivors :]}
        return [one for one in best_first if one.key in youngest]

    def _tournament(self, rng: np.random.Generator, count: int) -> int:
        """The best place among a few of `count`, drawn with replacement."""
        return int(rng.integers(count, size=self.tournament_size).min())


@register
class RegularizedEvolutionConfig(SelectAndBreedConfig):
    """Who breeds, and how long anybody does.

    Args:
        kind: the algorithm.
        survivors: length of the queue. None is four times the population.
        crossover_probability: there is no crossover, so only 0 is right; None is that.
        tournament_size: candidates that a parent is the best of. None is a quarter of the queue, at most 25.
    """

    kind: Literal["regularized_evolution"] = "regularized_evolution"

    @model_validator(mode="after")
    def _only_mutates(self) -> Self:
        if self.crossover_probability:
            fix = "regularized_evolution only mutates; leave it out, or use another algorithm.kind"
            raise UserError("crossover_probability", self.crossover_probability, fix)
        return self

    def check(self, objectives: Sequence[Objective], population: int) -> None:
        """As `AlgorithmConfig.check`: where age decides who dies, several times the population is a longer life."""

    def make(self, objectives: Sequence[Objective], population: int) -> RegularizedEvolution:
        """As `AlgorithmConfig.make`."""
        return RegularizedEvolution(self, objectives, population)
