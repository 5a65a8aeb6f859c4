"""One generation, or promotion: how many of its candidates are done, running, failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import Any

import polars as pl

from harmony_core.metrics import metric
from harmony_core.progress.result import Result, columns_of, results
from harmony_core.progress.shard import ShardReader
from harmony_core.progress.tables import read_if_there
from harmony_core.progress.under_way import UnderWay
from harmony_core.results.standing import Standing
from harmony_core.search.config import Config
from harmony_core.store import LEDGER, POPULATION, SELECTION, Run, SearchFolder
from harmony_core.store.evaluators import (
    DEFAULT,
    LATENCY_TABLE,
    TRAINING_TABLE,
    EvaluatorTable,
    decisive_tables,
    tables_of,
)

# So many are read and shown, however many run; more lines than a screen has are no help.
MOST_UNDER_WAY = 12
# The ledger's reasons begin with this where the budget does not pay for candidates.
_BUDGET = "budget of "


@dataclasses.dataclass(frozen=True)
class GenerationProgress:
    """How far a generation is.

    Args:
        generation: its number; None is promotion.
        total: trainings: its candidates, times learning rates, times replicates in promotion.
        done: trainings that have ended, whether well or not.
        running: trainings under way; None if the journals do not say.
        failed: candidates that have failed, in training or where an objective is measured.
        measured: candidates whose latency is known; None where it is predicted, which takes no time.
        finished: whether it was selected from (promotion: all tables are there).
        standing: of the search, this generation included.
        left_out: how many candidates the budget does not pay for, and why, as recorded; empty where it pays for all.
        least_loss: of its trainings so far, whose other objectives may not be known [bits/byte]; None before the first.
        under_way: trainings that run now, the first of them where they are many.
    """

    generation: int | None
    total: int
    done: int
    running: int | None
    failed: int
    measured: int | None
    finished: bool
    standing: Standing
    left_out: str = ""
    least_loss: float | None = None
    under_way: tuple[UnderWay, ...] = ()

    @property
    def queued(self) -> int | None:
        """Trainings that have not begun."""
        return None if self.running is None else max(0, self.total - self.done - self.running)

    @property
    def closed(self) -> bool:
        """Whether it has no candidate, since the budget is spent."""
        return self.total == 0 and bool(self.left_out)


@dataclasses.dataclass(frozen=True)
class Failure:
    """A candidate that failed.

    Args:
        generation: None is promotion.
        stage: the evaluator.
        result: how it ended.
    """

    generation: int | None
    stage: str
    result: Result


class GenerationReader:
    """Follows a generation whose population is there, until it is finished.

    Args:
        folder: the search's.
        generation: None is promotion.
        config: the search's.
        population: `candidate`, `architecture_id` and the static objectives of each.
    """

    def __init__(self, folder: SearchFolder, generation: int | None, config: Config, population: pl.DataFrame) -> None:
        self._folder, self._generation, self._config = folder, generation, config
        self._candidates = {row["candidate"]: row for row in population.iter_rows(named=True)}
        replicates = 1 if generation is not None else config.promote.replicates
        self._runs = replicates * len(config.recipe.learning_rates)
        shards = range(config.num_shards() if generation is not None else 1)
        self._settings = config.model_dump(mode="json")
        # What survivors alone are asked for is followed once the generation is finished.
        taken = ("all",) if generation is not None else ("all", "survivors", "promoted")
        self._tables = [table for table in tables_of(self._settings) if table.takes in taken]
        # Promoted candidates are asked for everything, also for what is no objective.
        self._decisive = self._tables if generation is None else decisive_tables(self._settings)
        self._stages = {table.name: [self._shard(table, shard) for shard in shards] for table in self._tables}
        # The ledger is written before the population, so it is there.
        self._left_out = _left_out(folder, generation)
        self._told: set[tuple[str, int, Run]] = set()
        self._joined: tuple[Standing, int, Standing] | None = None

    @classmethod
    def open(cls, folder: SearchFolder, generation: int | None, config: Config) -> GenerationReader | None:
        """A reader; None where there is no population yet.

        Args:
            folder: the search's.
            generation: None is promotion.
            config: names the objectives and evaluators.
        """
        static = [one.name for one in config.search.objectives if metric(one.name).is_static]
        columns = ["candidate", "architecture_id", *static]
        population = read_if_there(folder.population(generation), POPULATION, columns)
        return None if population is None else cls(folder, generation, config, population)

    def read(self, before: Standing) -> GenerationProgress:
        """Takes in what is new; `before` is the standing of the generation before."""
        for shards in self._stages.values():
            for shard in shards:
                shard.read()
        running = [shard.num_running for shard in self._stages[TRAINING_TABLE.name]]
        known = [number for number in running if number is not None]
        return GenerationProgress(
            generation=self._generation,
            total=len(self._candidates) * self._runs,
            done=sum(1 for _ in self.results(TRAINING_TABLE.name)),
            running=sum(known) if len(known) == len(running) else None,
            failed=self._num_failed(),
            measured=self._num_measured(),
            finished=self._generation is None and self._is_whole(),
            standing=before if self._generation is None else self._join(before),
            left_out=self._left_out,
            least_loss=min(self._values(TRAINING_TABLE).values(), default=None),
            under_way=tuple(self._under_way()),
        )

    def _under_way(self) -> list[UnderWay]:
        found: list[UnderWay] = []
        for shard in self._stages[TRAINING_TABLE.name]:
            found += shard.under_way(MOST_UNDER_WAY - len(found))
        return found

    def results(self, stage: str) -> Iterable[Result]:
        """What an evaluator's tasks have come to, well or not."""
        return (one for shard in self._stages[stage] for one in shard.results.values())

    def new_failures(self) -> list[Failure]:
        """Who has failed since the last call."""
        new = []
        for failure in self._failures():
            key = (failure.stage, failure.result.candidate, failure.result.run)
            if key not in self._told:
                self._told.add(key)
                new.append(failure)
        return new

    def _failures(self) -> Iterable[Failure]:
        for table in self._decisive:
            for one in self.results(table.name):
                if not one.ok:
                    yield Failure(self._generation, table.name, one)

    def _num_measured(self) -> int | None:
        if LATENCY_TABLE.name not in self._stages or self._config.latency.source != "measured":
            return None
        return sum(1 for _ in self.results(LATENCY_TABLE.name))

    def _num_failed(self) -> int:
        """Candidates without a result: one whose training failed at some learning rates only has one."""
        lost: dict[tuple[str, int], set[Run]] = {}
        for failure in self._failures():
            lost.setdefault((failure.stage, failure.result.candidate), set()).add(failure.result.run)
        rates = len(self._config.recipe.learning_rates)
        return len(
            {candidate for (stage, candidate), runs in lost.items() if stage != DEFAULT[0] or _hopeless(runs, rates)}
        )

    def _is_whole(self) -> bool:
        return all(shard.is_whole for shards in self._stages.values() for shard in shards)

    def _join(self, before: Standing) -> Standing:
        rows = self._evaluated()
        # Candidates never leave: as many as last time are the same ones.
        if self._joined is None or self._joined[0] is not before or self._joined[1] != len(rows):
            joined = before.join(pl.DataFrame(rows, infer_schema_length=None))
            self._joined = (before, len(rows), joined)
        return self._joined[2]

    def _evaluated(self) -> list[dict[str, Any]]:
        """The objectives of every candidate of which all are known."""
        # Only the first metric of a table is followed, so another one as objective has no value yet.
        measured = {table.metrics[0]: self._values(table) for table in self._tables}
        names: list[str] = [objective.name for objective in self._config.search.objectives]
        if any(name not in measured and not metric(name).is_static for name in names):
            return []
        rows = []
        for candidate in measured[TRAINING_TABLE.metrics[0]]:
            row = {
                name: measured[name].get(candidate) if name in measured else self._candidates[candidate][name]
                for name in names
            }
            if None not in row.values():
                rows.append(row)
        return rows

    def _values(self, table: EvaluatorTable) -> dict[int, float]:
        """What an evaluator tells of each candidate that did well; of several runs the least."""
        values: dict[int, float] = {}
        for one in self.results(table.name):
            if one.ok and one.value is not None:
                values[one.candidate] = min(one.value, values.get(one.candidate, one.value))
        return values

    def _shard(self, table: EvaluatorTable, shard: int) -> ShardReader:
        folder, generation, name = self._folder, self._generation, table.name
        journal = folder.work(name, folder.generation(generation).name, f"shard={shard:03d}", "journal.jsonl")
        told = partial(results, table, self._settings)
        path = folder.shard(generation, name, shard)
        return ShardReader(path, table.schema, columns_of(table), journal, told, self._is_member)

    def _is_member(self, result: Result) -> bool:
        candidate = self._candidates.get(result.candidate)
        return candidate is not None and candidate["architecture_id"] == result.architecture_id


def finished_generation(
    folder: SearchFolder, generation: int, config: Config, before: Standing
) -> GenerationProgress | None:
    """A generation that was selected from, read from its selection alone; None if it was not yet.

    Args:
        folder: the search's.
        generation: its number.
        config: names the objectives and learning rates.
        before: standing of the search up to the generation before.
    """
    names = [objective.name for objective in config.search.objectives]
    rows = read_if_there(folder.selection(generation), SELECTION, ["birth_generation", "status", *names])
    if rows is None:
        return None
    born = rows.filter(pl.col("birth_generation") == generation)
    alive = born.filter(pl.col("status") == "ok")
    rates = len(config.recipe.learning_rates)
    return GenerationProgress(
        generation=generation,
        total=len(born) * rates,
        done=len(born) * rates,
        running=0,
        failed=len(born) - len(alive),
        measured=None,
        finished=True,
        standing=before.join(alive.select(names)),
        left_out=_left_out(folder, generation),
    )


def _hopeless(lost: set[Run], rates: int) -> bool:
    """Whether a replicate failed at every learning rate."""
    replicates = [run.replicate for run in lost]
    return any(replicates.count(replicate) == rates for replicate in set(replicates))


def _left_out(folder: SearchFolder, generation: int | None) -> str:
    rows = read_if_there(folder.ledger(generation), LEDGER, ["reason", "count"])
    if rows is None:
        return ""
    unpaid = rows.filter(pl.col("reason").str.starts_with(_BUDGET))
    return "; ".join(f"{row['count']} left out: {row['reason']}" for row in unpaid.iter_rows(named=True))
