"""All trainings of one architecture under a protocol of MAD: resumable, and kept as rows. No torch here."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.base import digest
from harmony_core.evaluation.evaluator import died, with_device_seconds
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.mad_trained import what_is_trained
from harmony_core.evaluation.task_journal import Record, TaskJournal
from harmony_core.mad import Mode
from harmony_core.mad.config import MadConfig
from harmony_core.mad.protocol import SEED, describe, full_protocol
from harmony_core.store import SearchFolder, read_table, write_table
from harmony_core.store.schemas import MAD_RUNS
from harmony_core.workers import Outcome, Pool, Task
from harmony_core.workers.lease import Lease

TARGET = "harmony_core.evaluation.mad_run_task:run"
FILE_NAME = "mad.parquet"
NO_RESULT = dict.fromkeys(("test_accuracy", "validation_accuracy", "score", "epochs", "steps", "loss", "cpu_seconds"))
_IDENTITY = ("architecture_id", "trained", "protocol", "run_id", "task", "seed", "precision")


def full_trainings(
    architecture: Architecture, tasks: Sequence[str], precision: str, mode: Mode = "faithful", iso_state: bool = False
) -> list[Task]:
    """The runs of the full protocol, of the architecture's projection.

    Args:
        architecture: of any size.
        tasks: names; none is all.
        precision: `fp32` or `bf16`.
        mode: of the generators.
        iso_state: whether the projection's mixers are set to equal state.

    Raises:
        UserError: there is no such task, or the architecture does not project.
    """
    config, found = MadConfig(trained="projection", iso_state=iso_state), []
    for run in full_protocol(tasks, mode):
        small, trained = what_is_trained(architecture, config, run.task)
        row = {
            "protocol": "full",
            "run_id": run.identity,
            "task": run.task.name,
            "setting": run.setting,
            "task_setting": describe(run.task),
            "learning_rate": run.learning_rate,
            "weight_decay": run.weight_decay,
            "seed": SEED,
            "precision": precision,
            "trained": trained,
        }
        found.append(_task(f"full-{run.key}", architecture, small, row, expected=float(run.steps)))
    return found


def quick_trainings(architecture: Architecture, config: MadConfig, precision: str, seed: int) -> list[Task]:
    """The runs of the quick protocol, one a task.

    Args:
        architecture: of any size.
        config: tasks, and what of the architecture is trained.
        precision: `fp32` or `bf16`.
        seed: of weights and examples.
    """
    found, training = [], config.training
    for task in config.settings:
        small, trained = what_is_trained(architecture, config, task)
        row = {
            "protocol": "quick",
            "run_id": digest({"task": describe(task), "training": training.model_dump()}),
            "task": task.name,
            "setting": 0,
            "task_setting": describe(task),
            "learning_rate": training.learning_rate,
            "weight_decay": training.weight_decay,
            "seed": seed,
            "precision": precision,
            "trained": trained,
        }
        found.append(_task(f"quick-{task.name}-s{seed}", architecture, small, row, training.model_dump(mode="json")))
    return found


def _task(
    key: str,
    architecture: Architecture,
    small: Architecture,
    row: dict[str, Any],
    training: dict[str, Any] | None = None,
    expected: float = 0.0,
) -> Task:
    known = {**row, "architecture_id": architecture.id, "pattern": architecture.pattern()}
    payload = {"architecture": small.to_json(), "training": training, "row": known}
    return Task(key, TARGET, payload, expected_seconds=expected)


def run_trainings(
    folder: Path, tasks: Sequence[Task], pool: Pool, report: Callable[[dict[str, Any], int, int], None]
) -> pl.DataFrame:
    """Trains what the folder's journal does not hold, and writes the rows of all of these to `mad.parquet`.

    Args:
        folder: of the results; one process writes there at a time.
        tasks: of the functions above.
        pool: where they run.
        report: called with each new row, how many are done and how many there are.

    Raises:
        Held: somebody else trains there.
    """
    work = SearchFolder(folder).work("mad")
    with Lease(work / "lease"):
        rows = journalled_rows(work / "journal.jsonl", tasks, pool, report)
        timed = [{**row, "started_at": datetime.fromisoformat(row["started_at"])} for row in rows]
        write_table(folder / FILE_NAME, timed, MAD_RUNS)
    return read_table(folder / FILE_NAME, MAD_RUNS)


def journalled_rows(
    journal: Path, tasks: Sequence[Task], pool: Pool, report: Callable[[dict[str, Any], int, int], None]
) -> list[dict[str, Any]]:
    """The rows of these trainings in order, with times as ISO text; what the journal holds is not trained again.

    Args:
        journal: its file.
        tasks: with distinct keys; others as for `run_trainings`.
        pool: where they run.
        report: called with each new row, how many are done and how many there are.
    """
    with TaskJournal(journal, tasks, is_answer) as opened:
        records = run_journalled(pool, opened, _answer, lambda record, *counts: report(record["rows"][0], *counts))
    return [row for record in records for row in record["rows"]]


def is_answer(record: Record, task: Task) -> bool:
    """Whether a final record is of this very training, and not of one whose key it has: settings may have changed."""
    (row,) = record["rows"]
    return all(row[name] == task.payload["row"][name] for name in _IDENTITY)


def _answer(outcome: Outcome) -> Record:
    """The child's row, or one that says how it died."""
    failed = [{**outcome.task.payload["row"], **NO_RESULT, **died(outcome)}]
    rows = failed if outcome.result is None else outcome.result["rows"]
    return {"rows": with_device_seconds(rows, outcome.device_seconds)}


def full_scores(rows: pl.DataFrame, selected_by: str) -> dict[str, float | None]:
    """The paper's score of each task: the best run of each setting, then the mean over settings, in [0, 1].

    A setting of which every run failed, or is missing, leaves its task without a score.

    Args:
        rows: of the full protocol.
        selected_by: `test_accuracy`, as the paper does, or `validation_accuracy`; the test's is what is averaged.
    """
    scores: dict[str, float | None] = {}
    for task in dict.fromkeys(rows["task"]):
        best = []
        for _, runs in rows.filter(pl.col("task") == task).group_by("setting"):
            ended = runs.drop_nulls(selected_by).sort(selected_by, "learning_rate", "weight_decay")
            best.append(ended["test_accuracy"][-1] if len(ended) else None)
        known = [one for one in best if one is not None]
        scores[task] = statistics.fmean(sorted(known)) if known and len(known) == len(best) else None
    return scores
