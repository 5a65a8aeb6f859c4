"""Configuration of what is minimised."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field, GetJsonSchemaHandler

from harmony_core import bounds
from harmony_core.base import Frozen
from harmony_core.metrics import METRICS, is_metric


def _known(name: str) -> str:
    if not is_metric(name):
        raise ValueError(f"unknown metric; use {', '.join(METRICS)}")
    return name


class _Names:
    """The JSON schema: the metrics registered by now."""

    @staticmethod
    def __get_pydantic_json_schema__(_: Any, __: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"enum": list(METRICS), "type": "string"}


MetricName = Annotated[str, AfterValidator(_known), _Names()]


class Objective(Frozen):
    """A metric that is minimised, or maximised where more of it is better.

    Args:
        name: the metric.
        target: at or below this (above, where more is better) it costs nothing in `fitness`, where each cost needs one;
            in `nsga2` and the others, missing it is a constraint violation, and feasible candidates come first.
        weight: what a relative excess over the target costs in `fitness`.
    """

    name: MetricName
    target: float | None = Field(default=None, gt=0, le=bounds.METRIC)
    # A weight counts bits per byte for twice the target; above this limit the loss no longer matters.
    weight: float = Field(default=1.0, ge=0, le=1e6)
