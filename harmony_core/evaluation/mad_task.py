"""Trains a candidate on MAD's tasks: what runs in the forked child, from a JSON payload to a JSON row."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import torch

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.evaluation.evaluators.mad import NO_SCORES
from harmony_core.evaluation.mad_trained import what_is_trained
from harmony_core.host import host_name
from harmony_core.mad.config import MadConfig
from harmony_core.mad.learning import Diverged, failure
from harmony_core.mad.quick import QuickResult, run_quick
from harmony_core.metrics.mad import MAD_SCORE, MAD_TASKS
from harmony_core.models import keep_freed_memory
from harmony_core.training.device import device_for_training
from harmony_core.training.process import device_name


def run(payload: dict[str, Any]) -> dict[str, Any]:
    """Trains the payload's architecture on each task; the answer holds one row.

    Args:
        payload: `architecture` (JSON text), `mad` (its configuration), `row` (columns known before).
    """
    keep_freed_memory()
    started, begin = datetime.now(UTC).isoformat(), time.monotonic()
    device = device_for_training()
    known = {**payload["row"], "device": device_name(device), "host": host_name(), "started_at": started}
    told = _told(payload, device)
    return {"rows": [{**known, **told, "seconds": time.monotonic() - begin}]}


def _told(payload: dict[str, Any], device: torch.device) -> dict[str, Any]:
    """The columns that training decides."""
    config = MadConfig.parse(payload["mad"])
    architecture, row = Architecture.from_json(payload["architecture"]), payload["row"]
    failed = {**NO_SCORES, "trained": "", "kernel_paths": ""}
    results: dict[str, QuickResult] = {}
    for task in config.settings:
        try:
            small, failed["trained"] = what_is_trained(architecture, config, task)
            results[task.name] = run_quick(small, task, config.training, row["seed"], row["precision"], device)
        except UserError as error:
            # A candidate without a projection is one that failed, and no mistake of a person's.
            return {**failed, "status": "invalid", "error": str(error)}
        except (Diverged, MemoryError, RuntimeError) as error:
            told = failure(error)
            return {**failed, **told, "error": f"{task.name}: {told['error']}"}
    scores = {name: result.score for name, result in results.items()}
    return {
        **failed,
        "status": "ok",
        "error": None,
        "kernel_paths": next(iter(results.values())).kernel_paths,
        **{MAD_TASKS[name]: score for name, score in scores.items()},
        MAD_SCORE: config.score(scores),
    }
