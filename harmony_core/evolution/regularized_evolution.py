"""Regularized (aging) evolution: who is oldest dies, however good (Real et al. 2019, arXiv:1802.01548)."""

from __future__ import annotations

from collections.abc import Sequence

from harmony_core.evolution.nsga2 import NSGA2
from harmony_core.evolution.scored import Scored


class RegularizedEvolution(NSGA2):
    """The youngest `survivors` candidates breed, by tournament on rank and crowding.

    Algorithm 1 of the paper replaces one candidate at a time; here a generation arrives at once, so
    with `survivors` at its default everyone lives for one generation, and several times the population
    makes a lineage as long as the paper's. The paper only mutates: set `crossover_probability` 0 for that.
    """

    def keep(self, best_first: Sequence[Scored]) -> list[Scored]:
        """As `SelectAndBreed.keep`: by age, not by grade."""
        youngest = {one.key for one in sorted(best_first, key=lambda one: one.key)[-self.num_survivors :]}
        return [one for one in best_first if one.key in youngest]
