"""Middle-layer incremental: frozen units are split, and what is between is searched (arXiv:2510.00379)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harmony_core.evolution.incremental import Incremental, IncrementalConfig
from harmony_core.evolution.registry import register
from harmony_core.search.objective import Objective
from harmony_core.space.variation import Unit


class MiddleLayer(Incremental):
    """New units stand in the middle; of an odd number of frozen ones the larger part is before them."""

    def place(self, frozen: Sequence[Unit]) -> int:
        """As `Incremental.place`."""
        return -(-len(frozen) // 2)


@register
class MiddleLayerConfig(IncrementalConfig):
    """As `IncrementalConfig`."""

    kind: Literal["middle_layer"] = "middle_layer"

    def make(self, objectives: Sequence[Objective], population: int) -> MiddleLayer:
        """As `AlgorithmConfig.make`."""
        return MiddleLayer(self, objectives, population)
