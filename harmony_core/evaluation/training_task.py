"""A candidate's training as a task: what runs in the forked child, from a JSON payload to a JSON row."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import shutil
import signal
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch.distributed as dist

from harmony_core.architecture import Architecture
from harmony_core.host import host_name
from harmony_core.machines import Layout
from harmony_core.training.recipe import Recipe
from harmony_core.training.result import TrainingResult
from harmony_core.training.resume import CheckpointPolicy
from harmony_core.training.status import Status
from harmony_core.training.trainer import Conduct, TrainingInterrupted, train
from harmony_core.workers.child import INTERRUPTED


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Trains the payload's architecture; the answer holds the training `row` and its `curve`.

    On a team of ranks each runs this, and has the same answer. SIGTERM makes it write a checkpoint and leave; the next
    attempt goes on from there, under any layout.

    Args:
        payload: `architecture` (JSON text), `recipe`, `layout`, `data` (folder), `row` (columns known before),
            `splits`, `time_limit_seconds`, `checkpoints` (folder, seconds between two, whether the last one is to
            keep, and where asked for `keep_trunk` and `trunk_of` as in `CheckpointPolicy`), and the pool's `attempt`
            and `forked_at` (monotonic seconds).
    """
    started = datetime.now(UTC)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    architecture, recipe = Architecture.from_json(payload["architecture"]), Recipe.parse(payload["recipe"])
    layout, limit = Layout.parse(payload["layout"]), payload["time_limit_seconds"]
    asked = payload["checkpoints"]
    folder, seconds, keep = Path(asked["folder"]), asked["every_seconds"], asked["keep"]
    shorter = asked.get("trunk_of")
    conduct = Conduct(
        layout=layout,
        checkpoints=CheckpointPolicy(
            folder,
            every_seconds=math.inf if seconds is None else seconds,
            at_end=keep,
            keep_last=1,
            keep_trunk=asked.get("keep_trunk", False),
            trunk_of=None if shorter is None else Path(shorter),
        ),
        stop=lambda: bool(told),
        time_limit_seconds=math.inf if limit is None else limit,
        verify_data=False,
    )
    try:
        result = train(
            architecture,
            recipe,
            Path(payload["data"]),
            init_seed=payload["row"]["init_seed"],
            data_seed=payload["row"]["data_seed"],
            splits=payload["splits"],
            conduct=conduct,
        )
    except TrainingInterrupted as left:
        return {INTERRUPTED: str(left)}
    kept = keep and result.status is Status.OK
    if dist.get_rank() == 0 and folder.exists() and not kept:
        shutil.rmtree(folder)
    row = {
        **payload["row"],
        **training_columns(result),
        "attempt": payload["attempt"],
        "layout": json.dumps(layout.model_dump()),
        "precision": recipe.precision,
        "learning_rate": recipe.peak_learning_rate,
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
