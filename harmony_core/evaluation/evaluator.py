"""What measures candidates by tasks that workers run, and the evaluators by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import ClassVar, TypeVar

from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.evaluation.task_journal import Record
from harmony_core.host import host_name
from harmony_core.search.config import Config
from harmony_core.search.opened import OpenedSearch
from harmony_core.store.evaluators import TABLES, EvaluatorTable
from harmony_core.workers import Outcome, Pool, Task
from harmony_core.workers.pool import PRELOAD


class Evaluator(ABC):
    """One kind of measurement: its table (name, schema, metrics, whom it takes), and the tasks that fill it.

    Made anew with other options where promotion evaluates otherwise. A module that registers one is read whenever a
    workflow is, and imports no torch; what a task runs (`Task.target`) lies in another one. A target's answer holds
    `rows`, each whole but for its device seconds.
    """

    table: ClassVar[EvaluatorTable]
    # Whether each task must be alone on the machine of its device.
    exclusive: ClassVar[bool] = False
    # The module that workers import before they fork.
    preload: ClassVar[str] = PRELOAD

    @property
    def name(self) -> str:
        """That of its table."""
        return self.table.name

    @abstractmethod
    def tasks(self, shard: Shard) -> list[Task]:
        """What is to be run of a shard: functions of its candidates, with distinct keys.

        A payload's `row` holds the columns that are known before; tasks of equal expected time begin in the order of
        their keys.
        """

    @abstractmethod
    def failed_row(self, shard: Shard, outcome: Outcome) -> Row:
        """The row of a task whose process died (`died` has what all of these have), without its device seconds."""

    def needs_workers(self, config: Config) -> bool:
        """Whether there are tasks; else `computed` says all, wherever it is called."""
        return True

    def computed(self, shard: Shard, candidate: Row) -> Record:
        """The answer of a candidate for which no worker is needed."""
        raise NotImplementedError(f"{self.name} is computed by workers")

    def of_promotion(self, setting: OpenedSearch) -> Evaluator:
        """The evaluator with the options that promotion has."""
        return self

    def takes_whole_front(self, config: Config) -> bool:
        """Whether promotion evaluates the whole front beside what it trains again."""
        return False

    def workers(self, shard: Shard, launcher: Launcher) -> AbstractContextManager[Pool]:
        """Where its tasks run."""
        work, preload = shard.work(self.name), self.preload
        return launcher.measuring(
            shard.setting, work, shard.generation, preload, alone=self.exclusive, evaluator=self.name
        )

    def prepare(self, shard: Shard) -> None:  # noqa: B027 (most have nothing to prepare)
        """Called once before any task begins, if any is left."""

    def refusal(self, task: Task) -> str | None:
        """Why a task is not run at all; its row is then a failed one that says so. None where it is to be run."""
        return None

    def answer(self, shard: Shard, outcome: Outcome) -> Record:
        """What the journal keeps of a task that is over: the child's answer, or a row that says how it died."""
        rows = [self.failed_row(shard, outcome)] if outcome.result is None else outcome.result["rows"]
        return {"rows": with_device_seconds(rows, outcome.device_seconds)}

    def is_answer(self, record: Record, task: Task) -> bool:
        """Whether a journal's record answers a task: all that was known before is as it was."""
        return bool(record["rows"][0].items() >= task.payload["row"].items())

    def told(self, shard: Shard, record: Record) -> Row:
        """The row of an answer that people are told."""
        settings = shard.setting.config.model_dump(mode="json")
        return next(row for row in record["rows"] if self.table.counts(row, settings))

    def rows(self, shard: Shard, records: list[Record]) -> dict[str, list[Row]]:
        """The rows of each of the table's files, from the answers in the tasks' order; times are ISO text."""
        return {self.name: [row for record in records for row in record["rows"]]}

    def log(self, shard: Shard, rows: Mapping[str, list[Row]]) -> None:  # noqa: B027
        """Tells others of rows that are written, as `log.to` asks; never fails.

        Args:
            shard: whose.
            rows: by table.
        """

    def tidy(self, shard: Shard) -> None:  # noqa: B027 (most leave nothing behind)
        """Called when the shard's tables are written."""


def with_device_seconds(rows: list[Row], seconds: float) -> list[Row]:
    """The rows of one task, of which the first carries what all of them took."""
    return [{**row, "device_seconds": 0.0 if index else seconds} for index, row in enumerate(rows)]


def died(outcome: Outcome) -> Row:
    """The columns that say how a process died, as tables have them that say where a row comes from."""
    return {
        "status": "timed_out" if outcome.killed else "crashed",
        "error": outcome.error,
        "device": "",
        "kernel_paths": "",
        "seconds": 0.0,
        "host": host_name(),
        "started_at": datetime.now(UTC).isoformat(),
    }


_E = TypeVar("_E", bound=Evaluator)
EVALUATORS: dict[str, Evaluator] = {}


def register(evaluator: type[_E]) -> type[_E]:
    """Makes an evaluator known under its table's name; ValueError where the table is not known, or has one already."""
    name = evaluator.table.name
    if TABLES.get(name) is not evaluator.table:
        raise ValueError(f"table {name!r} is not registered")
    if name in EVALUATORS:
        raise ValueError(f"evaluator {name!r} is registered twice")
    EVALUATORS[name] = evaluator()
    return evaluator
