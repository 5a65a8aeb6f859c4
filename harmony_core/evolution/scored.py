"""What an algorithm is told of a candidate, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony_core.evolution.config import Objective


@dataclass(frozen=True)
class Scored:
    """A candidate whose evaluation has ended.

    Args:
        birth_generation: generation that it was made in.
        candidate: its number there.
        architecture_id: its architecture's id.
        status: `ok`, or how it failed.
        metrics: value by metric name; None where nothing was measured.
    """

    birth_generation: int
    candidate: int
    architecture_id: str
    status: str
    metrics: Mapping[str, float | None]

    @property
    def ok(self) -> bool:
        """Whether it can be compared, survive and breed."""
        return self.status == "ok"

    @property
    def key(self) -> tuple[int, int]:
        """What makes every order of candidates total: birth, then number."""
        return self.birth_generation, self.candidate

    def value(self, metric: str) -> float:
        """A metric; ValueError if a candidate that is ok has none."""
        value = self.metrics[metric]
        if value is None:
            raise ValueError(f"candidate {self.candidate} of generation {self.birth_generation} has no {metric}")
        return value


@dataclass(frozen=True)
class Standing:
    """A candidate's place in a selection.

    Args:
        violation: sum of relative excesses over the targets; None if it failed.
        rank: 0 is best; failed candidates share the last.
        crowding: crowding distance; None where the algorithm has none.
        fitness: score, higher is better; None where the algorithm has none.
        survives: whether it may breed and is merged into the next selection.
    """

    violation: float | None
    rank: int
    crowding: float | None
    fitness: float | None
    survives: bool


def violation(scored: Scored, objectives: Sequence[Objective]) -> float:
    """Sum over the objectives with a target of max(0, value / target - 1)."""
    return sum(excess(scored, objective) for objective in objectives)


def excess(scored: Scored, objective: Objective) -> float:
    """By what share the candidate is above the objective's target; 0 below it or without one."""
    if objective.target is None:
        return 0.0
    return max(0.0, scored.value(objective.name) / objective.target - 1.0)
