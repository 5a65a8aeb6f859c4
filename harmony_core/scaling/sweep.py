"""Trains the sizes and budgets of an IsoFLOP sweep, once and for all, and keeps what they say."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from harmony_core.architecture.presets import load_preset, with_vocab
from harmony_core.data import DataManifest, prepare
from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig
from harmony_core.evaluation.journalled import run_journalled
from harmony_core.evaluation.prepare import git_commit, versions
from harmony_core.evaluation.task_journal import TaskJournal
from harmony_core.scaling.config import IsoflopConfig
from harmony_core.scaling.isoflop import Plan, beyond, first_plan, together
from harmony_core.scaling.ladder import Ladder
from harmony_core.scaling.rows import ISOFLOP, points, sorted_rows
from harmony_core.scaling.trainings import Training, again, is_answer, rows_of, timed
from harmony_core.store import atomic_write, check_unchanged, read_table, write_table
from harmony_core.training.recipe import ResolvedPrecision
from harmony_core.workers import Lease, Outcome, Pool, WarmPool

SETTLED = "isoflop.json"
RUNS = "runs.parquet"

Row = dict[str, Any]
# It takes the row of a training's last budget, how many trainings are done, and how many there are.
Report = Callable[[Row, int, int], None]


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep in its folder, with what was settled when it began.

    Args:
        folder: `results/NAME`.
        config: which sizes on which budgets.
        data: what is read.
        precision: what `precision: auto` was resolved to.
    """

    folder: Path
    config: IsoflopConfig
    data: DataManifest
    precision: ResolvedPrecision

    @classmethod
    def open(cls, config: IsoflopConfig, folder: Path, log: Callable[[str], None]) -> Sweep:
        """Prepares the data and settles the precision, or finds them as they were settled; `run` makes the folder.

        Args:
            config: of the sweep.
            folder: `results/NAME`.
            log: told what is done.

        Raises:
            UserError: the folder holds another sweep, or a search; the data was changed; the plan would say nothing.
        """
        settled = check_begun(config, folder)
        data = prepare(config.data, data_root(folder), log)
        if settled is None:
            from harmony_core.training.device import device_for_training
            from harmony_core.training.precision import resolve_precision

            return cls(folder, config, data, resolve_precision(config.recipe.precision, device_for_training()))
        if settled["data_checksum"] != data.checksum:
            raise UserError("data", data.checksum, f"the sweep began with {settled['data_checksum']}; restore its text")
        return cls(folder, config, data, settled["precision"])

    @property
    def execution(self) -> ExecutionConfig:
        """How its trainings run."""
        return self.config.execution

    @property
    def device_lock(self) -> Path:
        """Its trainings share it."""
        return self.folder / "work" / "device.lock"

    def queue_order(self, generation: int) -> int:
        """Where its trainings stand in an allocation's queue."""
        return generation

    @cached_property
    def ladders(self) -> list[Ladder]:
        """The sizes of every architecture."""
        names = self.config.architectures
        return [
            Ladder(Path(one).stem, with_vocab(load_preset(one), self.data.vocab_size), self.config) for one in names
        ]

    @property
    def train_tokens(self) -> int:
        """Of the text."""
        return self.data.splits["train"].tokens

    def first_plan(self) -> Plan:
        """The sizes and budgets to begin with; UserError where one would say nothing."""
        ladders = self.ladders
        for ladder in ladders:
            ladder.origin.check_length(self.config.recipe.sequence_length)
            ladder.origin.check_demands(self.config.recipe.demands)
        return first_plan(ladders, self.train_tokens)

    def trainings(self, plan: Plan) -> Iterator[Training]:
        """One for each size, replicate and learning rate, whose rungs are the size's budgets."""
        ladders = {ladder.name: ladder for ladder in self.ladders}
        for name, sizes in plan.items():
            for step, budgets in sizes.items():
                for replicate in range(self.config.replicates):
                    for rate in range(len(self.config.recipe.learning_rates)):
                        yield Training(ladders[name], step, budgets, replicate, rate, self.precision, self.data)

    def run(self, pool: Pool, report: Report) -> pl.DataFrame:
        """Trains what is left of the plan, and of the sizes beyond that curves ask for; writes and returns all rows.

        Args:
            pool: where.
            report: hears of every training that ends.

        Raises:
            UserError: the plan would say nothing.
            WorkInterrupted: the machines were taken away; doing it again goes on where this ended.
        """
        plans, rows = [self.first_plan()], list[Row]()
        with Lease(self.folder / "work" / "lease") as lease:
            self._settle()
            for _ in range(1 + self.config.rounds):
                rows += self._train(pool, list(self.trainings(plans[-1])), report, lease.check)
                more = beyond(self.ladders, together(plans), points(rows), self.train_tokens)
                write_table(self.folder / RUNS, [timed(row) for row in rows], ISOFLOP)
                if not more:
                    break
                plans.append(more)
        return read_rows(self.folder)

    def _settle(self) -> None:
        if _settled(self.folder) is None:
            made = {"packages": versions(), "git_commit": git_commit(), "data_checksum": self.data.checksum}
            told = {"config": self.config.identity(), "precision": self.precision, **made}
            atomic_write(self.folder / SETTLED, json.dumps(told, indent=2).encode() + b"\n")

    def again(self, run: str, work: Path) -> list[tuple[Row, Row]]:
        """Trains a run again from its rows alone: each row then, and now, the least budget first.

        Args:
            run: its name.
            work: folder of logs and checkpoints.

        Raises:
            UserError: there is no such run.
        """
        rows = read_rows(self.folder).filter(pl.col("run") == run).sort("rung").to_dicts()
        if not rows:
            raise UserError("again", run, f"no such run; take one from {self.folder / RUNS}")
        outcomes: list[Outcome] = []
        WarmPool(work / "logs", workers=1).run([again(rows[-1], work, data_root(self.folder))], outcomes.append)
        return list(zip(rows, rows_of(outcomes[-1], len(rows)), strict=True))

    def _train(self, pool: Pool, trainings: Sequence[Training], report: Report, guard: Callable[[], None]) -> list[Row]:
        tasks = [one.task(self.folder / "work", data_root(self.folder)) for one in trainings]
        by_key = {task.key: one for task, one in zip(tasks, trainings, strict=True)}
        with TaskJournal(self.folder / "work" / "journal.jsonl", tasks, is_answer, guard) as journal:
            answers = run_journalled(
                pool,
                journal,
                answer=lambda outcome: {"rows": by_key[outcome.task.key].rows(outcome)},
                report=lambda record, done, total: report(record["rows"][-1], done, total),
            )
        return [row for answer in answers for row in answer["rows"]]


def check_begun(config: IsoflopConfig, folder: Path) -> dict[str, Any] | None:
    """What was settled when the sweep in a folder began; None where none did.

    Raises:
        UserError: the folder holds another sweep, or a search.
    """
    if (folder / "manifest.json").exists():
        raise UserError("name", config.name, f"{folder} is a search's folder; use another name")
    settled = _settled(folder)
    if settled is not None:
        check_unchanged(config.name, settled["config"], config.identity())
    return settled


def _settled(folder: Path) -> dict[str, Any] | None:
    """What was settled when a sweep began; None before that.

    Raises:
        UserError: the file is no such record.
    """
    path = folder / SETTLED
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("config", "precision", "data_checksum")}
    except (ValueError, KeyError, TypeError):
        raise UserError(str(path), "damaged", "restore it from a copy, or use another name") from None


def data_root(folder: Path) -> Path:
    """Where prepared data lies: `data/` beside `results/`."""
    return folder.parent.parent / "data"


def read_rows(folder: Path) -> pl.DataFrame:
    """The rows of a sweep; UserError where it has none yet."""
    return sorted_rows(read_table(folder / RUNS, ISOFLOP))
