"""Search algorithms by the name that `search.algorithm.kind` has for them."""

from __future__ import annotations

from harmony_core.config import SearchConfig
from harmony_core.evolution.algorithm import Algorithm, SelectAndBreed
from harmony_core.evolution.fitness import Fitness
from harmony_core.evolution.nsga2 import NSGA2
from harmony_core.evolution.random_search import RandomSearch
from harmony_core.evolution.regularized_evolution import RegularizedEvolution

ALGORITHMS: dict[str, type[SelectAndBreed]] = {
    "nsga2": NSGA2,
    "fitness": Fitness,
    "regularized_evolution": RegularizedEvolution,
    "random": RandomSearch,
}


def make_algorithm(settings: SearchConfig) -> Algorithm:
    """The algorithm that the configuration names."""
    return ALGORITHMS[settings.algorithm.kind](settings.algorithm, settings.objectives, settings.population)
