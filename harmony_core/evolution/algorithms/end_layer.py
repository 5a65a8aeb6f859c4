"""End-layer incremental: the frozen units stay at the embedding (Composer, arXiv:2510.00379)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from harmony_core.evolution.incremental import Incremental, IncrementalConfig
from harmony_core.evolution.registry import register
from harmony_core.search.objective import Objective
from harmony_core.space.variation import Unit


class EndLayer(Incremental):
    """New units are added at the head."""

    def place(self, frozen: Sequence[Unit]) -> int:
        """As `Incremental.place`."""
        return len(frozen)


@register
class EndLayerConfig(IncrementalConfig):
    """As `IncrementalConfig`."""

    kind: Literal["end_layer"] = "end_layer"

    def make(self, objectives: Sequence[Objective], population: int) -> EndLayer:
        """As `AlgorithmConfig.make`."""
        return EndLayer(self, objectives, population)
