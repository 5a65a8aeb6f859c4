"""What a search has found so far, generation after generation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from harmony_core.config import Config
from harmony_core.evolution.hypervolume import hypervolume
from harmony_core.store import front


@dataclass(frozen=True, eq=False)
class Standing:
    """The front of everything evaluated so far, in any generation.

    Args:
        config: objectives and algorithm.
        frame: the manifest's `hypervolume`: ideal and reference point.
        best: lowest value of each objective, of any candidate; empty before there is one.
        members: the front, one row a candidate: the objectives and `violation`.
        hypervolume: of the front, between 0 and 1.
    """

    config: Config
    frame: Mapping[str, Mapping[str, float]]
    best: Mapping[str, float] = field(default_factory=dict)
    members: pl.DataFrame | None = None
    hypervolume: float = 0.0

    @property
    def front_size(self) -> int:
        """Candidates on the front."""
        return 0 if self.members is None else len(self.members)

    def join(self, candidates: pl.DataFrame) -> Standing:
        """The standing once `candidates` (objectives as columns, all ok) are in.

        The front of a front and the newcomers is the front of everybody, so that nobody is looked at twice.
        """
        if candidates.is_empty():
            return self
        search = self.config.search
        names: list[str] = [objective.name for objective in search.objectives]
        excess = [
            (pl.col(objective.name) / objective.target - 1).clip(lower_bound=0)
            for objective in search.objectives
            if objective.target is not None
        ]
        told = candidates.select(pl.col(names).cast(pl.Float64)).with_columns(
            violation=pl.sum_horizontal(pl.lit(0.0), *excess)
        )
        everybody = told if self.members is None else pl.concat([self.members, told])
        members = front(everybody, names, constrained=search.algorithm.kind != "fitness")
        lowest = {name: min(float(told[name].min()), self.best.get(name, float("inf"))) for name in names}  # type: ignore[arg-type]
        return Standing(self.config, self.frame, lowest, members, hypervolume(members, names, self.frame))
