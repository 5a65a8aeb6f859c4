"""A candidate's training as a task: what runs in the forked child, from a JSON payload to a JSON row."""

from __future__ import annotations

import json
import logging
import math
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch.distributed as dist

from harmony_core.architecture import Architecture
from harmony_core.evaluation.training_rows import answers
from harmony_core.host import host_name
from harmony_core.machines import Layout
from harmony_core.store.live_curve import LiveCurveWriter
from harmony_core.training.curve import CurvePoint
from harmony_core.training.learner import StepLosses
from harmony_core.training.recipe import Recipe
from harmony_core.training.resume import CheckpointPolicy
from harmony_core.training.status import Status
from harmony_core.training.trainer import Conduct, TrainingInterrupted, train
from harmony_core.training.world import World
from harmony_core.workers.child import INTERRUPTED


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Trains the payload's architecture; the answer holds the training `row` and its `curve`.

    Where the recipe has rungs, these are the last one's, and `rungs` holds a row and a curve of each earlier one.
    On a team of ranks each runs this, and has the same answer. SIGTERM makes it write a checkpoint and leave; the next
    attempt goes on from there, under any layout.

    Args:
        payload: `architecture` (JSON text), `recipe`, `layout`, `data` (folder), `row` (columns known before),
            `splits`, `time_limit_seconds`, `checkpoints` (folder, seconds between two, whether the last one is to
            keep, and where asked for `keep_trunk` and `trunk_of` as in `CheckpointPolicy`), where asked for
            `live_curve` (the file that the loss is told in as it goes), and the pool's `attempt`
            and `forked_at` (monotonic seconds).
    """
    started = datetime.now(UTC)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    told: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    architecture, recipe = Architecture.from_json(payload["architecture"]), Recipe.parse(payload["recipe"])
    layout, limit = Layout.parse(payload["layout"]), payload["time_limit_seconds"]
    asked = payload["checkpoints"]
    # Every rank has the same losses, and one of them tells them.
    live = None
    if "live_curve" in payload and World.from_environment().rank == 0:
        live = LiveCurveWriter(Path(payload["live_curve"]), recipe.num_steps)
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
        on_step=None if live is None else _telling(live),
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
    finally:
        if live is not None:
            live.close()
    kept = keep and result.status is Status.OK
    if dist.get_rank() == 0 and folder.exists() and not kept:
        shutil.rmtree(folder)
    known = {
        **payload["row"],
        "attempt": payload["attempt"],
        "layout": json.dumps(layout.model_dump()),
        "precision": recipe.precision,
        "learning_rate": recipe.peak_learning_rate,
        "lr_scaling": recipe.lr_scaling,
        "start_seconds": None if result.first_step_at is None else result.first_step_at - payload["forked_at"],
        "host": host_name(),
        "started_at": started.isoformat(),
    }
    *earlier, last = answers(known, result, architecture.flops_per_token(recipe.sequence_length, "train"))
    return {**last, "rungs": earlier} if earlier else last


def _telling(live: LiveCurveWriter) -> Callable[[CurvePoint, StepLosses], None]:
    def tell(point: CurvePoint, _: StepLosses) -> None:
        live.tell(point.step, point.tokens, point.train_loss, point.seconds)

    return tell
