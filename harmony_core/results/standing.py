"""What a search has found so far, generation after generation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import polars as pl

from harmony_core.metrics import metric
from harmony_core.results.hypervolume import hypervolume
from harmony_core.results.views import front, violation
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame


@dataclass(frozen=True, eq=False)
class Standing:
    """The front of everything evaluated so far, in any generation.

    Args:
        config: objectives and algorithm.
        frame: what its hypervolume is measured in; None while there is none.
        best: best value of each objective, of any candidate; empty before there is one.
        members: the front, one row a candidate: the objectives and `violation`.
    """

    config: Config
    frame: Frame | None
    best: Mapping[str, float] = field(default_factory=dict)
    members: pl.DataFrame | None = None

    @property
    def front_size(self) -> int:
        """Candidates on the front."""
        return 0 if self.members is None else len(self.members)

    @cached_property
    def hypervolume(self) -> float | None:
        """Of the front, between 0 and 1; None while there is no frame."""
        if self.members is None:
            return 0.0
        names = [objective.name for objective in self.config.search.objectives]
        return None if self.frame is None else hypervolume(self.members, names, self.frame)

    def join(self, candidates: pl.DataFrame) -> Standing:
        """The standing once `candidates` (objectives as columns, all ok) are in.

        The front of a front and the newcomers is the front of everybody, so that nobody is looked at twice.
        """
        if candidates.is_empty():
            return self
        search = self.config.search
        names: list[str] = [objective.name for objective in search.objectives]
        targets = {objective.name: objective.target for objective in search.objectives}
        told = candidates.select(pl.col(names).cast(pl.Float64)).with_columns(violation=violation(targets))
        everybody = told if self.members is None else pl.concat([self.members, told])
        members = front(everybody, names, constrained=search.algorithm.targets_are_constraints)
        best = {name: _best(name, [*told[name], *([self.best[name]] if self.best else [])]) for name in names}
        return Standing(self.config, self.frame, best, members)


def _best(name: str, values: Sequence[float]) -> float:
    return min(values) if metric(name).sign > 0 else max(values)
