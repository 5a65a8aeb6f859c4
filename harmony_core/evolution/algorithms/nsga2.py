"""NSGA-II: fronts first, then what lies far from its neighbours (Deb et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harmony_core.evolution.ranking import ranks_and_crowding
from harmony_core.evolution.registry import register
from harmony_core.evolution.scored import Scored
from harmony_core.evolution.select_and_breed import SelectAndBreed, SelectAndBreedConfig
from harmony_core.search.objective import Objective


class NSGA2(SelectAndBreed):
    """Elitist selection by constrained non-dominated rank, then by crowding distance."""

    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """As `SelectAndBreed.grade`."""
        return [(rank, crowding, None) for rank, crowding in ranks_and_crowding(scored, self.objectives)]


@register
class NSGA2Config(SelectAndBreedConfig):
    """Who breeds and who survives: the best by rank and crowding.

    Args:
        kind: the algorithm.
        survivors: how many a selection keeps. None is the population size.
        crossover_probability: share of children with two parents. None is 0.3.
        tournament_size: candidates that a parent is the best of. None is 6.
    """

    kind: Literal["nsga2"] = "nsga2"

    def make(self, objectives: Sequence[Objective], population: int) -> NSGA2:
        """As `AlgorithmConfig.make`."""
        return NSGA2(self, objectives, population)
