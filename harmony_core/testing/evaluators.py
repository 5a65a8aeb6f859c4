"""What every evaluator must do, whatever it measures. Knows no test runner: a check raises AssertionError."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluator import EVALUATORS, Evaluator
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Row, Shard
from harmony_core.results.budget import generation_allowance
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import POPULATION, read_table, write_table
from harmony_core.store.evaluators import KEY, TABLES
from harmony_core.store.table import to_arrow
from harmony_core.workers import Outcome, Pool, Task, WorkInterrupted

# What two equal evaluations may differ in.
VOLATILE = {
    "host", "started_at", "attempt", "start_seconds", "seconds", "eval_seconds", "tokens_per_second",
    "peak_memory_bytes", "device_seconds", "shard",
}  # fmt: skip
COMMON = ("search", "generation", "shard", "candidate", "architecture_id", "status", "error", "device_seconds")


class WatchedPool:
    """Runs another pool's tasks, and remembers which.

    Args:
        pool: what runs them.
        most: so many of them at most.
        target: what each runs instead of its own, `module:function`; None is its own.
    """

    def __init__(self, pool: Pool, most: int, target: str | None) -> None:
        self._pool, self._most, self._target = pool, most, target
        self.begun: list[str] = []

    def run(
        self, tasks: Iterable[Task], on_outcome: Callable[[Outcome], None], on_begin: Callable[[Task, int], None]
    ) -> None:
        """Runs the tasks that it may; arguments as for `Pool.run`.

        Raises:
            WorkInterrupted: tasks are left.
        """
        asked = list(tasks)
        taken = [dataclasses.replace(task, target=self._target or task.target) for task in asked[: self._most]]
        self.begun += [task.key for task in taken]
        self._pool.run(taken, on_outcome, on_begin)
        if len(asked) > len(taken):
            raise WorkInterrupted("the machine is taken away")


class WatchedLauncher(Launcher):
    """Runs tasks here, and knows which.

    Args:
        most: after so many tasks the machines are taken away.
        target: what each task runs instead of its own.
        workers: at once.
    """

    def __init__(self, most: int = 10**9, target: str | None = None) -> None:
        super().__init__()
        object.__setattr__(self, "_watched", (most, target))
        object.__setattr__(self, "pools", [])

    @property
    def begun(self) -> list[str]:
        """Keys of the tasks that were run."""
        return [key for pool in self.__dict__["pools"] for key in pool.begun]

    @contextmanager
    def training(self, *arguments: Any, **options: Any) -> Iterator[Pool]:
        """As `Launcher.training`."""
        with super().training(*arguments, **options) as pool:
            yield self._watch(pool)

    @contextmanager
    def measuring(self, *arguments: Any, **options: Any) -> Iterator[Pool]:
        """As `Launcher.measuring`."""
        with super().measuring(*arguments, **options) as pool:
            yield self._watch(pool)

    def _watch(self, pool: Pool) -> WatchedPool:
        watched = WatchedPool(pool, *self.__dict__["_watched"])
        self.__dict__["pools"].append(watched)
        return watched


def check_declaration(evaluator: Evaluator) -> None:
    """Name, table and metrics are declared as others read them."""
    table = evaluator.table
    assert EVALUATORS[evaluator.name].table is TABLES[evaluator.name] is table
    assert set(COMMON) <= set(table.schema.names)
    assert table.metrics
    fields = {field.name: field for field in table.schema}
    for name in table.metrics:
        assert fields[name].nullable, f"{name}: what failed has no value"
        assert b"unit" in fields[name].metadata, f"{name}: says no unit"
    assert set(table.seconds) <= set(fields)
    assert set(table.columns) <= set(fields)
    assert table.takes in ("all", "survivors", "promoted")


def check_tasks(evaluator: Evaluator, shard: Shard) -> None:
    """Tasks are the same each time they are asked for, have names of their own, and can be sent."""
    tasks = evaluator.tasks(shard)
    assert {task.payload["row"]["candidate"] for task in tasks} == {row["candidate"] for row in shard.population}
    assert len({task.key for task in tasks}) == len(tasks)
    assert tasks == evaluator.tasks(shard)
    assert json.loads(json.dumps([task.payload for task in tasks])) == [task.payload for task in tasks]


def check_failed_row(evaluator: Evaluator, shard: Shard) -> None:
    """A task whose process died, or ran out of time, is a whole row without a value."""
    for killed, status in ((False, "crashed"), (True, "timed_out")):
        for task in evaluator.tasks(shard):
            outcome = Outcome(task, 2, None, "gone", killed=killed, device_seconds=3.0)
            failed = evaluator.failed_row(shard, outcome)
            assert (failed["status"], failed["error"]) == (status, "gone")
            answer = evaluator.answer(shard, outcome)
            assert evaluator.is_answer(json.loads(json.dumps(answer)), task)
            assert evaluator.told(shard, answer)["status"] == status
        answers = [
            evaluator.answer(shard, Outcome(task, 2, None, "gone", killed=killed, device_seconds=3.0))
            for task in evaluator.tasks(shard)
        ]
        rows = evaluator.rows(shard, answers)
        assert rows.keys() == evaluator.table.schemas.keys()
        own = [{name: value for name, value in row.items() if name != "started_at"} for row in rows[evaluator.name]]
        without = evaluator.table.schema.remove(evaluator.table.schema.get_field_index("started_at"))
        assert to_arrow(own, without).num_rows == len(own) > 0
        assert sum(row["device_seconds"] for row in own) == 3.0 * len(answers)
        assert all(row[name] is None for row in own for name in evaluator.table.metrics)


def check_dead_child(evaluator: Evaluator, shard: Shard, target: str) -> None:
    """Candidates whose processes die are rows, and are failures to whoever reads them.

    The machine's small task passes, so that the deaths are the candidates'.

    Args:
        evaluator: that is held to it.
        shard: its candidates all die.
        target: what their processes run instead, `module:function`; it kills its own process.
    """
    evaluate(evaluator, shard, WatchedLauncher(target=target))
    rows = read(evaluator, shard)
    assert set(rows["candidate"]) == {row["candidate"] for row in shard.population}
    assert set(rows["status"]) == {"crashed"}
    assert rows["error"].str.contains("signal 9").all()
    assert rows["device_seconds"].sum() > 0
    settings = shard.setting.config.model_dump(mode="json")
    seen = evaluator.table.by_candidate(rows.lazy(), settings).collect()
    assert seen["status"].to_list() == ["crashed"] * len(shard.population)
    assert seen.select(pl.col(evaluator.table.metrics).null_count()).row(0) == (len(seen),) * len(
        evaluator.table.metrics
    )
    assert evaluator.table.failures(rows.lazy()).select("candidate").unique().collect().height == len(seen)


def check_resume(evaluator: Evaluator, shard: Shard) -> None:
    """What was done when the machines were taken away is not done again."""
    tasks = [task.key for task in evaluator.tasks(shard)]
    first, second, third = WatchedLauncher(most=1), WatchedLauncher(), WatchedLauncher()
    try:
        evaluate(evaluator, shard, first)
    except WorkInterrupted:
        assert not path(evaluator, shard).exists()
    else:
        raise AssertionError("an interruption was swallowed")
    evaluate(evaluator, shard, second)
    assert sorted(first.begun + second.begun) == sorted(tasks)
    rows = read(evaluator, shard)
    assert set(rows["status"]) == {"ok"}
    # Nothing is evaluated again where all was done and only its table is gone.
    path(evaluator, shard).unlink()
    evaluate(evaluator, shard, third)
    assert third.begun == []
    assert read(evaluator, shard).equals(rows)


def check_determinism(evaluator: Evaluator, shard: Shard, other: Shard) -> None:
    """Two shards of the same candidates have the same rows, whoever runs beside them and in whatever order.

    Args:
        evaluator: that is held to it.
        shard: of candidates that can be evaluated.
        other: the same candidates in another folder.
    """
    tables = []
    for one in (shard, dataclasses.replace(other, population=list(reversed(other.population)))):
        evaluate(evaluator, one, WatchedLauncher())
        rows = read(evaluator, one)
        kept = [name for name in rows.columns if name not in VOLATILE]
        tables.append(rows.sort(*KEY, maintain_order=True).select(kept))
    assert tables[0].equals(tables[1])
    settings = shard.setting.config.model_dump(mode="json")
    seen = evaluator.table.by_candidate(read(evaluator, shard).lazy(), settings).collect()
    assert sorted(seen["candidate"]) == sorted(row["candidate"] for row in shard.population)
    assert set(seen["status"]) == {"ok"}
    assert seen.select(pl.col(evaluator.table.metrics[0])).null_count().item() == 0


def check_budget(evaluator: Evaluator, shard: Shard) -> None:
    """What it took counts against the budget, and a generation that this closes is evaluated without a worker."""
    setting, folder = shard.setting, shard.setting.folder
    assert shard.generation == 0
    write_table(folder.population(0), shard.population, POPULATION)
    evaluate(evaluator, shard, WatchedLauncher())
    spent = read(evaluator, shard)["device_seconds"].sum()
    assert spent > 0
    for hours, is_paid in ((3 * spent / 3600, True), (spent / 2 / 3600, False)):
        budget = setting.config.budget.model_copy(update={"gpu_hours": hours})
        promote = setting.config.promote.model_copy(update={"top_k": 0, "baselines": ()})
        search = setting.config.search.model_copy(update={"population": 2})
        config = setting.config.model_copy(update={"budget": budget, "promote": promote, "search": search})
        allowance = generation_allowance(folder, config, 1)
        assert (allowance.paid > 0) == is_paid, f"{allowance.reason or 'paid'} of {hours} GPU-hours"
    closed, idle = Shard(setting, [], 1, 0), WatchedLauncher()
    evaluate(evaluator, closed, idle)
    assert idle.begun == []
    assert read(evaluator, closed).is_empty()


def evaluate(evaluator: Evaluator, shard: Shard, launcher: Launcher) -> list[Row]:
    """The final rows as they were reported.

    Args:
        evaluator: what is measured.
        shard: the candidates.
        launcher: finds the workers.
    """
    reported: list[Row] = []
    evaluate_shard(evaluator, shard, report=lambda row, done, total: reported.append(row), launcher=launcher)
    return reported


def read(evaluator: Evaluator, shard: Shard) -> pl.DataFrame:
    """The rows of a shard; all of its tables are there."""
    for name, schema in evaluator.table.schemas.items():
        read_table(shard.setting.folder.shard(shard.generation, name, shard.index), schema)
    return read_table(path(evaluator, shard), evaluator.table.schema)


def path(evaluator: Evaluator, shard: Shard) -> Path:
    """The file of a shard's own table."""
    return shard.setting.folder.shard(shard.generation, evaluator.name, shard.index)


def with_evaluators(setting: OpenedSearch, *names: str) -> OpenedSearch:
    """The same search, measuring other things."""
    return dataclasses.replace(setting, config=setting.config.model_copy(update={"evaluators": names}))
