"""Random search: the baseline that every other algorithm has to beat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from harmony_core.evolution.algorithms.nsga2 import NSGA2
from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Proposal, Sample
from harmony_core.evolution.registry import register
from harmony_core.evolution.select_and_breed import SelectAndBreedConfig
from harmony_core.search.objective import Objective


class RandomSearch(NSGA2):
    """Keeps the best by rank and crowding, and breeds nothing: every candidate is a sample."""

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        """As `Algorithm.ask`: never a parent."""
        return Sample()


@register
class RandomSearchConfig(SelectAndBreedConfig):
    """Who survives; nobody breeds.

    Args:
        kind: the algorithm.
        survivors: how many a selection keeps. None is the population size.
        crossover_probability: of no effect; there so that the settings of another algorithm can be searched at random.
        tournament_size: of no effect, likewise.
    """

    kind: Literal["random"] = "random"

    def make(self, objectives: Sequence[Objective], population: int) -> RandomSearch:
        """As `AlgorithmConfig.make`."""
        return RandomSearch(self, objectives, population)
