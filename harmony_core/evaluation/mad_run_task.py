"""One training of `harmony mad` as a task: what runs in the forked child, from a JSON payload to a JSON row."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import torch

from harmony_core.architecture import Architecture
from harmony_core.evaluation.mad_runs import NO_RESULT
from harmony_core.host import host_name
from harmony_core.mad.config import QuickTraining
from harmony_core.mad.full import run_full
from harmony_core.mad.learning import Diverged, failure
from harmony_core.mad.protocol import FullRun, described
from harmony_core.mad.quick import run_quick
from harmony_core.models import keep_freed_memory
from harmony_core.training.device import device_for_training
from harmony_core.training.process import device_name

Row = dict[str, Any]


def run(payload: Row) -> Row:
    """Trains on one setting; the answer holds one row.

    Args:
        payload: `architecture` (JSON text of what is trained), `training` (of the quick protocol), `row` (columns known
            before).
    """
    keep_freed_memory()
    started, begin, cpu = datetime.now(UTC).isoformat(), time.monotonic(), time.process_time()
    device, row = device_for_training(), payload["row"]
    known = {**row, **NO_RESULT, "device": device_name(device), "host": host_name(), "started_at": started}
    try:
        told = {"status": "ok", "error": None, **_PROTOCOLS[row["protocol"]](payload, device)}
    except (Diverged, MemoryError, RuntimeError) as error:
        told = {**failure(error), "kernel_paths": ""}
    took = {"seconds": time.monotonic() - begin, "cpu_seconds": time.process_time() - cpu}
    return {"rows": [{**known, **told, **took}]}


def _full(payload: Row, device: torch.device) -> Row:
    row, architecture = payload["row"], Architecture.from_json(payload["architecture"])
    asked = FullRun(described(row["task_setting"]), row["setting"], row["learning_rate"], row["weight_decay"])
    return dict(vars(run_full(architecture, asked, row["precision"], device)))


def _quick(payload: Row, device: torch.device) -> Row:
    row, architecture = payload["row"], Architecture.from_json(payload["architecture"])
    training = QuickTraining.parse(payload["training"])
    task = described(row["task_setting"])
    result = run_quick(architecture, task, training, row["seed"], row["precision"], device)
    return {
        "score": result.score,
        "validation_accuracy": result.curve[-1][1],
        "steps": training.steps,
        "loss": result.loss,
        "kernel_paths": result.kernel_paths,
    }


_PROTOCOLS: dict[str, Callable[[Row, torch.device], Row]] = {"full": _full, "quick": _quick}
