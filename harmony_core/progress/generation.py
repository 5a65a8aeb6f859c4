"""One generation, or promotion: how many of its candidates are done, running, failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from functools import partial
from typing import Any

import polars as pl

from harmony_core.config import Config
from harmony_core.progress.result import LATENCY_COLUMNS, TRAINING_COLUMNS, Result, timed, trained
from harmony_core.progress.shard import ShardReader
from harmony_core.progress.standing import Standing
from harmony_core.progress.tables import read_if_there
from harmony_core.store import LATENCY, LEDGER, POPULATION, SELECTION, TRAINING, SearchFolder

_LOSS, _LATENCY = "val_bits_per_byte", "latency_seconds"
# How the ledger's reason begins where candidates are left out because the budget does not pay for them.
_BUDGET = "budget of "


@dataclasses.dataclass(frozen=True)
class GenerationProgress:
    """How far a generation is.

    Args:
        generation: its number; None is promotion.
        total: trainings: its candidates, times replicates in promotion.
        done: trainings that have ended, whether well or not.
        running: trainings under way; None if the journals do not say.
        failed: candidates that have failed, in training or where their latency is an objective.
        measured: candidates whose latency is known; None where it is predicted, which takes no time.
        finished: whether it was selected from (promotion: all tables are there).
        standing: of the search, this generation included.
        left_out: how many candidates the budget does not pay for, and why, as recorded; empty where it pays for all.
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
        stage: `training` or `latency`.
        result: how it ended.
    """

    generation: int | None
    stage: str
    result: Result


class GenerationReader:
    """Follows a generation (None: promotion) whose population is there, until it is finished."""

    def __init__(self, folder: SearchFolder, generation: int | None, config: Config, population: pl.DataFrame) -> None:
        self._folder, self._generation, self._config = folder, generation, config
        self._candidates = {row["candidate"]: row for row in population.iter_rows(named=True)}
        self._replicates = 1 if generation is not None else config.promote.replicates
        shards = range(config.num_shards() if generation is not None else 1)
        self._stages = {stage: [self._shard(stage, shard) for shard in shards] for stage in ("training", "latency")}
        # Written before the population.
        self._left_out = _left_out(folder, generation)
        self._told: set[tuple[str, int, int]] = set()
        self._joined: tuple[Standing, int, Standing] | None = None

    @classmethod
    def open(cls, folder: SearchFolder, generation: int | None, config: Config) -> GenerationReader | None:
        """A reader; None where there is no population yet."""
        static = [one.name for one in config.search.objectives if one.name not in (_LOSS, _LATENCY)]
        columns = ["candidate", "architecture_id", *static]
        population = read_if_there(folder.population(generation), POPULATION, columns)
        return None if population is None else cls(folder, generation, config, population)

    def read(self, before: Standing) -> GenerationProgress:
        """Takes in what is new; `before` is the standing of the generation before."""
        for shards in self._stages.values():
            for shard in shards:
                shard.read()
        running = [shard.num_running for shard in self._stages["training"]]
        known = [number for number in running if number is not None]
        return GenerationProgress(
            generation=self._generation,
            total=len(self._candidates) * self._replicates,
            done=sum(1 for _ in self.results("training")),
            running=sum(known) if len(known) == len(running) else None,
            failed=len({one.result.candidate for one in self._failures()}),
            measured=sum(1 for _ in self.results("latency")) if self._config.latency.source == "measured" else None,
            finished=self._generation is None and self._is_whole(),
            standing=before if self._generation is None else self._join(before),
            left_out=self._left_out,
        )

    def results(self, stage: str) -> Iterable[Result]:
        """What has ended in `training` or `latency`, well or not."""
        return (one for shard in self._stages[stage] for one in shard.results.values())

    def new_failures(self) -> list[Failure]:
        """Who has failed since the last call."""
        new = []
        for failure in self._failures():
            key = (failure.stage, failure.result.candidate, failure.result.replicate)
            if key not in self._told:
                self._told.add(key)
                new.append(failure)
        return new

    def _failures(self) -> Iterable[Failure]:
        # A promoted candidate's latency is asked for even where it is no objective.
        needs_latency = self._generation is None or self._wants(_LATENCY)
        for stage in ("training", "latency") if needs_latency else ("training",):
            for one in self.results(stage):
                if not one.ok:
                    yield Failure(self._generation, stage, one)

    def _wants(self, objective: str) -> bool:
        return any(one.name == objective for one in self._config.search.objectives)

    def _is_whole(self) -> bool:
        return all(shard.is_whole for shards in self._stages.values() for shard in shards)

    def _join(self, before: Standing) -> Standing:
        rows = self._evaluated()
        # Nobody leaves: as many as last time are the same as last time.
        if self._joined is None or self._joined[0] is not before or self._joined[1] != len(rows):
            joined = before.join(pl.DataFrame(rows, infer_schema_length=None))
            self._joined = (before, len(rows), joined)
        return self._joined[2]

    def _evaluated(self) -> list[dict[str, Any]]:
        """The objectives of every candidate of which all are known."""
        losses = {one.candidate: one.value for one in self.results("training") if one.ok}
        times = {one.candidate: one.value for one in self.results("latency") if one.ok}
        measured = {_LOSS: losses, _LATENCY: times}
        names: list[str] = [objective.name for objective in self._config.search.objectives]
        rows = []
        for candidate in losses:
            row = {
                name: measured[name].get(candidate) if name in measured else self._candidates[candidate][name]
                for name in names
            }
            if None not in row.values():
                rows.append(row)
        return rows

    def _shard(self, stage: str, shard: int) -> ShardReader:
        folder, generation = self._folder, self._generation
        journal = folder.work(stage, folder.generation(generation).name, f"shard={shard:03d}", "journal.jsonl")
        if stage == "training":
            table = folder.training(generation, shard)
            return ShardReader(table, TRAINING, TRAINING_COLUMNS, journal, trained, self._is_member)
        table = folder.latency(generation, shard)
        results = partial(timed, mode=self._config.latency.objective)
        return ShardReader(table, LATENCY, LATENCY_COLUMNS, journal, results, self._is_member)

    def _is_member(self, result: Result) -> bool:
        candidate = self._candidates.get(result.candidate)
        return candidate is not None and candidate["architecture_id"] == result.architecture_id


def finished_generation(
    folder: SearchFolder, generation: int, config: Config, before: Standing
) -> GenerationProgress | None:
    """A generation that was selected from, read from its selection alone; None if it was not yet."""
    names = [objective.name for objective in config.search.objectives]
    rows = read_if_there(folder.selection(generation), SELECTION, ["birth_generation", "status", *names])
    if rows is None:
        return None
    born = rows.filter(pl.col("birth_generation") == generation)
    alive = born.filter(pl.col("status") == "ok")
    return GenerationProgress(
        generation=generation,
        total=len(born),
        done=len(born),
        running=0,
        failed=len(born) - len(alive),
        measured=None,
        finished=True,
        standing=before.join(alive.select(names)),
        left_out=_left_out(folder, generation),
    )


def _left_out(folder: SearchFolder, generation: int | None) -> str:
    rows = read_if_there(folder.ledger(generation), LEDGER, ["reason", "count"])
    if rows is None:
        return ""
    unpaid = rows.filter(pl.col("reason").str.starts_with(_BUDGET))
    return "; ".join(f"{row['count']} left out: {row['reason']}" for row in unpaid.iter_rows(named=True))
