"""NSGA-II: fronts first, then what lies far from its neighbours (Deb et al. 2002)."""

from __future__ import annotations

from collections.abc import Sequence

from harmony_core.evolution.algorithm import SelectAndBreed
from harmony_core.evolution.ranking import ranks_and_crowding
from harmony_core.evolution.scored import Scored


class NSGA2(SelectAndBreed):
    """Elitist selection by constrained non-dominated rank, then by crowding distance."""

    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """As `SelectAndBreed.grade`."""
        return [(rank, crowding, None) for rank, crowding in ranks_and_crowding(scored, self.objectives)]
