"""A candidate's training as a task: what runs in the forked child, from a JSON payload to a JSON row."""

from __future__ import annotations

import dataclasses
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.host import host_name
from harmony_core.training.recipe import Recipe
from harmony_core.training.trainer import TrainingResult, train


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Trains the payload's architecture; the answer holds the training `row` and its `curve`.

    Args:
        payload: `architecture` (JSON text), `recipe`, `data` (folder), `row` (columns known before),
            `splits`, `time_limit_seconds`, and the pool's `attempt` and `forked_at` (monotonic seconds).
    """
    started = datetime.now(UTC)
    architecture = Architecture.from_json(payload["architecture"])
    recipe = Recipe.parse(payload["recipe"])
    limit = payload["time_limit_seconds"]
    result = train(
        architecture,
        recipe,
        Path(payload["data"]),
        init_seed=payload["row"]["init_seed"],
        data_seed=payload["row"]["data_seed"],
        splits=payload["splits"],
        time_limit_seconds=math.inf if limit is None else limit,
        verify_data=False,
    )
    layout = {"processes": 1, "zero_stage": 0, "micro_batch_size": recipe.micro_batch_size or recipe.batch_size}
    row = {
        **payload["row"],
        **training_columns(result),
        "attempt": payload["attempt"],
        "layout": json.dumps(layout),
        "precision": recipe.precision,
        "learning_rate": recipe.learning_rate,
        "lr_scaling": recipe.lr_scaling,
        "flops": architecture.flops_per_token(recipe.sequence_length, "train") * result.tokens,
        "start_seconds": None if result.first_step_at is None else result.first_step_at - payload["forked_at"],
        "host": host_name(),
        "started_at": started.isoformat(),
    }
    return {"row": row, "curve": curve_columns(result)}


def training_columns(result: TrainingResult) -> dict[str, Any]:
    """The columns of the training schema that the result itself decides; numbers that are not finite become null."""
    values = {
        field.name: getattr(result, field.name)
        for field in dataclasses.fields(result)
        if field.name not in ("curve", "first_step_at", "status")
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
