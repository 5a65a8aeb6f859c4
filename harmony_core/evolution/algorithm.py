"""The one protocol of all search algorithms, and what those that select and breed share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from harmony_core.evolution.config import AlgorithmConfig, Objective
from harmony_core.evolution.scored import Scored, Standing, violation


class Algorithm(Protocol):
    """Ask and tell. All state comes from the last `tell`, so recorded rows restore it."""

    def tell(self, scored: Sequence[Scored]) -> list[Standing]:
        """Takes the survivors of the last selection and a new generation; says who survives.

        The answer has the order of `scored`, and depends on its content alone. Candidates that
        failed share the last rank and never survive: if all failed, nobody does, and `ask` asks
        for samples.
        """
        ...

    def ask(self, rng: np.random.Generator) -> tuple[str, ...]:
        """Parents (architecture ids) of the next child: none for a sample, one to mutate, two to cross."""
        ...


class SelectAndBreed(ABC):
    """Grades candidates, keeps the best, breeds by tournament; what is best is the subclass's.

    Args:
        settings: the algorithm's configuration.
        objectives: what is minimised.
        population: candidates a generation.
    """

    def __init__(self, settings: AlgorithmConfig, objectives: Sequence[Objective], population: int) -> None:
        self.settings = settings
        self.objectives = tuple(objectives)
        self.num_survivors = settings.survivors or population
        self._survivors: list[str] = []

    @abstractmethod
    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """Rank, crowding and fitness of candidates that are ok, sorted by their key."""

    def keep(self, best_first: Sequence[Scored]) -> list[Scored]:
        """Who survives, best first."""
        return list(best_first[: self.num_survivors])

    def tell(self, scored: Sequence[Scored]) -> list[Standing]:
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
            Standing(violation(one, self.objectives), *grades[one.key], one.key in kept)
            if one.ok
            else Standing(None, last, None, None, False)
            for one in scored
        ]

    def ask(self, rng: np.random.Generator) -> tuple[str, ...]:
        """As `Algorithm.ask`; each parent is the best of a tournament, two parents differ."""
        count = len(self._survivors)
        if not count:
            return ()
        first = self._tournament(rng, count)
        if count < 2 or rng.random() >= self.settings.crossover_probability:
            return (self._survivors[first],)
        second = self._tournament(rng, count - 1)
        # Places from the first parent's on move down by one: it is not in the second tournament.
        return self._survivors[first], self._survivors[second + (second >= first)]

    def _tournament(self, rng: np.random.Generator, count: int) -> int:
        """The best place among a few of `count`, drawn without replacement."""
        size = min(self.settings.tournament_size, count)
        return int(rng.choice(count, size=size, replace=False).min())
