"""One score: the loss, and a price on each relative excess over a target. HARMONY calls it fitness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

from harmony_core.errors import UserError
from harmony_core.evolution.registry import register
from harmony_core.evolution.scored import Scored, excess
from harmony_core.evolution.select_and_breed import SelectAndBreed, SelectAndBreedConfig
from harmony_core.metrics import LOSS
from harmony_core.search.objective import Objective


class Fitness(SelectAndBreed):
    """Truncation selection by -loss - sum of weight x relative excess over the target.

    The loss is validation bits per byte, whether or not it is an objective. A configuration in which another
    objective has no target, and would cost nothing, is refused. The formula is our own: the paper's is not public.
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


@register
class FitnessConfig(SelectAndBreedConfig):
    """Who breeds and who survives: the best scores.

    Args:
        kind: the algorithm.
        survivors: how many a selection keeps. None is the population size.
        crossover_probability: share of children with two parents. None is 0.3.
        tournament_size: candidates that a parent is the best of. None is 6.
    """

    kind: Literal["fitness"] = "fitness"

    # For this algorithm a target is where a price begins.
    targets_are_constraints: ClassVar[bool] = False

    def check(self, objectives: Sequence[Objective], population: int) -> None:
        """As `AlgorithmConfig.check`; also refuses a cost that would cost nothing."""
        free = [one.name for one in objectives if one.target is None and one.name != LOSS]
        if free:
            fix = "fitness ignores a cost without a target; give each one, take it out, or use another algorithm.kind"
            raise UserError("objectives", f"{', '.join(free)} without a target", fix)
        super().check(objectives, population)

    def make(self, objectives: Sequence[Objective], population: int) -> Fitness:
        """As `AlgorithmConfig.make`."""
        return Fitness(self, objectives, population)
