"""What an algorithm is told of a candidate, and what it answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harmony_core.errors import UserError
from harmony_core.metrics import metric
from harmony_core.search.objective import Objective


@dataclass(frozen=True)
class Scored:
    """A candidate whose evaluation has ended.

    Args:
        birth_generation: generation that it was made in.
        candidate: its number there.
        architecture_id: its architecture's id.
        status: `ok`, or how it failed.
        metrics: value by metric name; None where nothing was measured.

    Raises:
        UserError: it claims to be ok with a value that is not finite. Whatever else guards against it, a NaN would
            be kept and the best dropped, since it is neither better nor worse than anything.
    """

    birth_generation: int
    candidate: int
    architecture_id: str
    status: str
    metrics: Mapping[str, float | None]

    def __post_init__(self) -> None:
        for name, value in self.metrics.items() if self.ok else ():
            if value is not None and not math.isfinite(value):
                raise self._refused(f"{name} {value}")

    def _refused(self, found: str) -> UserError:
        name = f"candidate {self.candidate} of generation {self.birth_generation}"
        return UserError(name, found, "its row claims to be ok; restore its shard, or delete that file and run again")

    @property
    def ok(self) -> bool:
        """Whether it can be compared, survive and breed."""
        return self.status == "ok"

    @property
    def key(self) -> tuple[int, int]:
        """What makes every order of candidates total: birth, then number."""
        return self.birth_generation, self.candidate

    def value(self, name: str) -> float:
        """A metric; UserError if a candidate that is ok has none."""
        value = self.metrics[name]
        if value is None:
            raise self._refused(f"has no {name}")
        return value


@dataclass(frozen=True)
class Placement:
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
    """Sum over the objectives with a target of the shares by which it is missed."""
    return sum(excess(scored, objective) for objective in objectives)


def excess(scored: Scored, objective: Objective) -> float:
    """By what share the candidate misses the objective's target; 0 where it does not, or there is none."""
    if objective.target is None:
        return 0.0
    return metric(objective.name).excess(scored.value(objective.name), objective.target)
