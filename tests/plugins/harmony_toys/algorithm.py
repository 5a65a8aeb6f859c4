"""A search algorithm: mutates whoever learnt best of all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Mutate, Proposal, Sample
from harmony_core.evolution.registry import AlgorithmConfig, register
from harmony_core.evolution.scored import Placement, Scored
from harmony_core.search.objective import Objective

LOSS = "val_bits_per_byte"


class HillClimbing:
    """Keeps everybody."""

    def tell(self, scored: Sequence[Scored]) -> list[Placement]:
        """As `Algorithm.tell`."""
        losses = sorted(one.value(LOSS) for one in scored if one.ok)
        return [
            Placement(0.0, losses.index(one.value(LOSS)), None, None, True)
            if one.ok
            else Placement(None, len(losses), None, None, False)
            for one in scored
        ]

    def ask(self, context: Context, rng: np.random.Generator) -> Proposal:
        """As `Algorithm.ask`."""
        learnt = [trial for trial in context.history if trial.ok]
        if not learnt:
            return Sample()
        return Mutate(min(learnt, key=lambda trial: (trial.metrics[LOSS], trial.architecture_id)).architecture_id)


@register
class HillClimbingConfig(AlgorithmConfig):
    """It has no settings."""

    kind: Literal["hill_climbing"] = "hill_climbing"

    def make(self, objectives: Sequence[Objective], population: int) -> HillClimbing:
        """As `AlgorithmConfig.make`."""
        return HillClimbing()
