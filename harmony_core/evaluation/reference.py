"""What the reference architecture costs when a search begins: the seconds that all its latencies are told in."""

from __future__ import annotations

from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.evaluation.latency_row import LATENCY_TARGET
from harmony_core.machines import Machine, predict_seconds
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder
from harmony_core.training.recipe import ResolvedPrecision
from harmony_core.workers import Outcome, Task
from harmony_core.workers.pool import WarmPool


def reference_latency(
    config: Config, reference: Architecture, precision: ResolvedPrecision, folder: SearchFolder
) -> dict[str, float]:
    """Seconds of one call of the reference, by mode: measured as a candidate is, against itself, or predicted.

    Args:
        config: its `latency` section says what is called, and whether a machine predicts instead.
        reference: the architecture, with the search's vocabulary.
        precision: of products and caches.
        folder: the search's, for the logs of what is measured.

    Raises:
        UserError: this machine cannot run it.
    """
    latency = config.latency
    if latency.machine is not None:
        machine = Machine.from_yaml(latency.machine)
        return {
            mode: predict_seconds(reference, machine, mode, latency.batch_size, latency.context, precision)
            for mode in latency.modes
        }
    rows = _measured(config, reference, precision, folder)
    for row in rows:
        if row["status"] != "ok":
            fix = f"{row['status']} on this machine ({row['error']}); name a smaller preset, or lower latency.context"
            raise UserError("latency.reference", latency.reference, fix)
    return {row["mode"]: row["reference_seconds_median"] for row in rows}


def _measured(
    config: Config, reference: Architecture, precision: ResolvedPrecision, folder: SearchFolder
) -> list[dict[str, Any]]:
    """The rows of a measurement against itself; one that died has one row.

    It runs in a process of its own, with a candidate's limits: what is too large ends there, with a reason.
    """
    execution, text = config.execution, reference.to_json()
    pool = WarmPool(
        folder.work("settle", "logs"),
        workers=1,
        threads=execution.threads_per_candidate,
        attempts=execution.attempts,
        memory_limit_gb=execution.memory_limit_gb,
        preload=LATENCY_TARGET.split(":")[0],
    )
    payload = {
        "architecture": text,
        "reference": text,
        "latency": config.latency.model_dump(mode="json"),
        "precision": precision,
        "row": {},
    }
    task = Task("reference", LATENCY_TARGET, payload, time_limit_seconds=execution.time_limit_seconds)
    found: list[Outcome] = []
    pool.run([task], found.append)
    last = found[-1]
    if last.result is None:
        return [{"status": "timed_out" if last.killed else "crashed", "error": last.error}]
    rows: list[dict[str, Any]] = last.result["rows"]
    return rows
