"""What came of a training as rows: one for each rung, and a curve beside it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from harmony_core.training.result import TrainingResult

_OF_CURVES = ("search", "generation", "shard", "candidate", "architecture_id", "replicate", "rate", "rung")


def answers(known: dict[str, Any], result: TrainingResult, flops_per_token: float) -> list[dict[str, Any]]:
    """The `row` and the `curve` of each rung, in order; a training without rungs has one.

    Args:
        known: the columns that all of them share.
        result: what came of the training.
        flops_per_token: of a training step [FLOP/token].
    """
    return [
        {
            "row": {**known, **training_columns(one), "rung": number, "flops": flops_per_token * one.tokens},
            "curve": curve_columns(one),
        }
        for number, one in enumerate(result.rungs)
    ]


def training_columns(result: TrainingResult) -> dict[str, Any]:
    """The columns of the training schema that the result itself decides; numbers that are not finite become null."""
    values = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in ("curve", "earlier", "first_step_at", "status")
    }
    finite = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
    speed = result.tokens / result.seconds if result.seconds else None
    return {**finite, "status": result.status.value, "tokens_per_second": speed}


def curve_columns(result: TrainingResult) -> list[dict[str, Any]]:
    """The curve up to the last finite loss; a gradient norm that is not finite is null."""
    points = [dataclasses.asdict(point) for point in result.curve if math.isfinite(point.train_loss)]
    return [
        {**point, "gradient_norm": point["gradient_norm"] if math.isfinite(point["gradient_norm"]) else None}
        for point in points
    ]


def keys_of_curves(row: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a training row that the points of its curve have too."""
    return {name: row[name] for name in _OF_CURVES}
