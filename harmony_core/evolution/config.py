"""Configuration of objectives and of the algorithm that breeds and selects."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from harmony_core.base import Frozen

Metric = Literal[
    "val_bits_per_byte",
    "latency_seconds",
    "num_params",
    "num_active_params",
    "flops_per_token",
    "kv_bytes_per_token",
    "state_bytes",
]


class Objective(Frozen):
    """A metric that is minimised.

    Args:
        name: the metric.
        target: at or below this it costs nothing in `fitness`; in `nsga2` and the others, going
            above it is a constraint violation, and feasible candidates come first.
        weight: what a relative excess over the target costs in `fitness`.
    """

    name: Metric
    target: float | None = Field(default=None, gt=0)
    weight: float = Field(default=1.0, ge=0)


class AlgorithmConfig(Frozen):
    """Who breeds and who survives.

    Args:
        kind: the algorithm.
        survivors: how many a selection keeps; None is the population size.
        crossover_probability: share of children with two parents.
        tournament_size: candidates that a parent is the best of.
    """

    kind: Literal["nsga2", "fitness", "regularized_evolution", "random"] = "nsga2"
    survivors: int | None = Field(default=None, ge=2)
    crossover_probability: float = Field(default=0.3, ge=0, le=1)
    tournament_size: int = Field(default=2, ge=1)
