"""One score: the loss, and a price on each relative excess over a target. HARMONY calls it fitness."""

from __future__ import annotations

from collections.abc import Sequence

from harmony_core.evolution.algorithm import SelectAndBreed
from harmony_core.evolution.scored import Scored, excess

LOSS = "val_bits_per_byte"


class Fitness(SelectAndBreed):
    """Truncation selection by -loss - sum of weight x relative excess over the target.

    The loss is validation bits per byte, whether or not it is an objective. An objective without a
    target costs nothing here. The formula is our own: the paper's is not public.
    """

    def score(self, one: Scored) -> float:
        """The candidate's fitness; higher is better."""
        prices = (objective.weight * excess(one, objective) for objective in self.objectives)
        return -one.value(LOSS) - sum(prices)

    def grade(self, scored: Sequence[Scored]) -> list[tuple[int, float | None, float | None]]:
        """As `SelectAndBreed.grade`; equal scores have equal ranks."""
        scores = [self.score(one) for one in scored]
        place = {score: rank for rank, score in enumerate(sorted(set(scores), reverse=True))}
        return [(place[score], None, score) for score in scores]
