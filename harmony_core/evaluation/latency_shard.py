"""Finds the latency of one shard of a generation: measured alone on its device, or predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.setting import Setting
from harmony_core.host import host_name
from harmony_core.machines import Machine, predict_seconds
from harmony_core.store import schemas, write_table
from harmony_core.workers import Lease, Outcome, Pool, Task

TARGET = "harmony_core.evaluation.latency:run"
Report = Callable[[dict[str, Any], int, int], None]


def benchmark_shard(
    setting: Setting,
    population: Sequence[dict[str, Any]],
    generation: int | None,
    shard: int,
    *,
    report: Report,
    launcher: Launcher,
) -> None:
    """Writes the shard's latency file: one row a candidate and mode.

    Measured candidates run each in a process of its own with a device of its own (on a CPU, one after
    another), and nothing that was measured is measured again after a restart. A candidate that dies is a
    row that says so.

    Raises:
        Interrupted: the machines were taken away; doing it again goes on where this ended.
    """
    folder, work = setting.folder, setting.work("latency", generation, shard)
    with Lease(work / "lease") as lease:
        if setting.config.latency.source == "measured":
            # All that a measurement needs, without DeepSpeed.
            with launcher.measuring(setting, work, generation, TARGET.split(":")[0]) as pool:
                rows = _measured(setting, pool, lease, population, work, shard, report)
        else:
            rows = _predicted(setting, population, shard, report)
        lease.check()
        timed = [{**row, "started_at": datetime.fromisoformat(row["started_at"])} for row in rows]
        write_table(folder.latency(generation, shard), timed, schemas.LATENCY)


def _measured(
    setting: Setting,
    pool: Pool,
    lease: Lease,
    population: Sequence[dict[str, Any]],
    work: Path,
    shard: int,
    report: Report,
) -> list[dict[str, Any]]:
    answers = run_journalled(
        pool,
        [_task(setting, candidate, shard) for candidate in population],
        work / "journal.jsonl",
        answer=lambda outcome: _answer(setting, outcome),
        is_of=lambda answer, task: answer["rows"][0].items() >= task.payload["row"].items(),
        report=lambda answer, done, total: report(_objective_row(setting, answer["rows"]), done, total),
        before=lambda: None,
        guard=lease.check,
    )
    return [row for answer in answers for row in answer["rows"]]


def _predicted(
    setting: Setting, population: Sequence[dict[str, Any]], shard: int, report: Report
) -> list[dict[str, Any]]:
    latency = setting.config.latency
    machine = Machine.from_yaml(latency.source.removeprefix("predicted:"))
    rows = []
    for index, candidate in enumerate(population):
        architecture = Architecture.from_json(candidate["architecture"])
        of_candidate = []
        for mode in latency.modes:
            seconds = predict_seconds(
                architecture, machine, mode, latency.batch_size, latency.context, setting.precision
            )
            of_candidate.append(
                {
                    **_known(setting, candidate, shard),
                    "status": "ok",
                    "error": None,
                    "device": machine.name,
                    "mode": mode,
                    "seconds_median": seconds,
                    "seconds_p10": seconds,
                    "seconds_p90": seconds,
                    "repeats": 0,
                    "warmups": 0,
                    "reference_seconds_median": None,
                    "kernel_paths": "",
                    "seconds": 0.0,
                    "device_seconds": 0.0,
                    "host": host_name(),
                    "started_at": datetime.now(UTC).isoformat(),
                }
            )
        report(_objective_row(setting, of_candidate), index + 1, len(population))
        rows += of_candidate
    return rows


def _known(setting: Setting, candidate: dict[str, Any], shard: int) -> dict[str, Any]:
    latency = setting.config.latency
    return {
        "search": setting.folder.name,
        "generation": candidate["generation"],
        "shard": shard,
        "candidate": candidate["candidate"],
        "architecture_id": candidate["architecture_id"],
        "source": latency.source,
        "batch_size": latency.batch_size,
        "context": latency.context,
        "precision": setting.precision,
    }


def _task(setting: Setting, candidate: dict[str, Any], shard: int) -> Task:
    reference = with_vocab(load_preset(setting.config.latency.reference), setting.manifest.data["vocab_size"])
    payload = {
        "architecture": candidate["architecture"],
        "reference": reference.to_json(),
        "latency": setting.config.latency.model_dump(mode="json"),
        "precision": setting.precision,
        "row": _known(setting, candidate, shard),
    }
    key = f"{candidate['candidate']:05d}-{candidate['architecture_id']}"
    limit = setting.config.execution.time_limit_seconds
    return Task(key, TARGET, payload, time_limit_seconds=limit)


def _answer(setting: Setting, outcome: Outcome) -> dict[str, Any]:
    """The child's rows, or rows that say how it died; the first one carries the device seconds of all."""
    rows = _failed(setting, outcome) if outcome.result is None else outcome.result["rows"]
    seconds = [outcome.device_seconds, *(0.0 for _ in rows[1:])]
    return {"rows": [{**row, "device_seconds": one} for row, one in zip(rows, seconds, strict=True)]}


def _failed(setting: Setting, outcome: Outcome) -> list[dict[str, Any]]:
    empty = {field.name: None for field in schemas.LATENCY if field.nullable}
    row = {
        **empty,
        **outcome.task.payload["row"],
        "status": "timed_out" if outcome.killed else "crashed",
        "error": outcome.error,
        "device": "",
        "repeats": 0,
        "warmups": 0,
        "kernel_paths": "",
        "seconds": 0.0,
        "host": host_name(),
        "started_at": datetime.now(UTC).isoformat(),
    }
    return [{**row, "mode": mode} for mode in setting.config.latency.modes]


def _objective_row(setting: Setting, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return next(row for row in rows if row["mode"] == setting.config.latency.objective)
