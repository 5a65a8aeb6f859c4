"""What algorithms share that keep the best and breed from them, and how those are configured."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from pydantic import Field

from harmony_core import bounds
from harmony_core.errors import UserError
from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Cross, Mutate, Proposal, Sample
from harmony_core.evolution.registry import AlgorithmConfig
from harmony_core.evolution.scored import Placement, Scored, violation
from harmony_core.search.objective import Objective

# `benchmarks.search_quality` compares this size with others, the two of Deb et al. among them, on one problem, and
# judges it on other problems with the few hundred candidates that a search can train.
TOURNAMENT_SIZE = 6


class SelectAndBreedConfig(AlgorithmConfig):
    """The fields of them all; what None stands for is the algorithm's own."""

    survivors: int | None = Field(default=None, ge=2, le=bounds.POPULATION)
    crossover_probability: float | None = Field(default=None, ge=0, le=1)
    tournament_size: int | None = Field(default=None, ge=1, le=bounds.POPULATION)

    def check(self, objectives: Sequence[Objective], population: int) -> None:
        """As `AlgorithmConfig.check`."""
        if self.survivors is not None and self.survivors > population:
            fix = f"use at most search.population ({population})"
            raise UserError("algorithm.survivors", self.survivors, fix)


class SelectAndBreed(ABC):
    """Grades candidates, keeps the best, breeds by tournament; what is best is the subclass's.

    Args:
        settings: the algorithm's configuration.
        objectives: what is minimised.
        population: candidates a generation.
    """

    # The share of children with two parents, where the configuration does not say.
    default_crossover = 0.3

    def __init__(self, settings: SelectAndBreedConfig, objectives: Sequence[Objective], population: int) -> None:
        self.settings = settings
        self.objectives = tuple(objectives)
        self.num_survivors = settings.survivors or self.default_survivors(population)
        self.tournament_size = settings.tournament_size or self.default_tournament()
        chosen = settings.crossover_probability
        self.crossover_probability = self.default_crossover if chosen is None else chosen
        self._survivors: list[str] = []

    @abstractmethod
    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """Rank, crowding and fitness of candidates that are ok, sorted by their key."""

    def default_survivors(self, population: int) -> int:
        """How many survive where the configuration does not say."""
        return population

    def default_tournament(self) -> int:
        """Candidates in a tournament where the configuration does not say; see `TOURNAMENT_SIZE`."""
        return TOURNAMENT_SIZE

    def keep(self, best_first: Sequence[Scored]) -> list[Scored]:
        """Who survives, best first."""
        return list(best_first[: self.num_survivors])

    def tell(self, scored: Sequence[Scored]) -> list[Placement]:
        """As `Algorithm.tell`."""
        alive = sorted((one for one in scored if one.ok), key=lambda one: one.key)
        grades = {one.key: grade for one, grade in zip(alive, self.grade(alive), strict=True)}

        def order(one: Scored) -> tuple[int, float, tuple[int, int]]:
            rank, crowding, _ = grades[one.key]
            return rank, -(crowding or 0.0), one.key

        survivors = self.keep(sorted(alive, key=order))
        self._survivors = [one.architecture_id for one in survivors]
        kept = {one.key for one in survivors}
        last = 1 + max((rank for rank, _, _ in grades.values()), default=-1)
        return [
            Placement(violation(one, self.objectives), *grades[one.key], one.key in kept)
            if one.ok
            else Placement(None, last, None, None, False)
            for one in scored
        ]

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        """As `Algorithm.ask`; each parent is the best of a tournament, two parents differ."""
        count = len(self._survivors)
        if not count:
            return Sample()
        first = self._tournament(rng, count)
        if count < 2 or rng.random() >= self.crossover_probability:
            return Mutate(self._survivors[first])
        second = self._tournament(rng, count - 1)
        # The first parent is not in the second tournament, so places from its own on move by one.
        return Cross(self._survivors[first], self._survivors[second + (second >= first)])

    def _tournament(self, rng: np.random.Generator, count: int) -> int:
        """The best place among a few of `count`, drawn without replacement."""
        size = min(self.tournament_size, count)
        return int(rng.choice(count, size=size, replace=False).min())
