"""What is told of generations beside their candidates: failures, how the reference moved, what was spent."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import polars as pl

from harmony_core.store.evaluators import KEY, LATENCY_TABLE, EvaluatorTable, Settings, tables_of


@dataclass(frozen=True)
class Tally:
    """Counts of one generation, or of several.

    Args:
        failures: how many candidates failed, by stage and reason.
        reference_seconds: what the reference took beside candidates, at least and at most; empty if unmeasured [s].
        marked: measurements of the objective's latency during which the reference moved.
        device_seconds: what candidates held [s].
    """

    failures: Mapping[tuple[str, str], int]
    reference_seconds: tuple[float, ...] = ()
    marked: int = 0
    device_seconds: float = 0.0

    @classmethod
    def of(cls, rows: Mapping[str, pl.LazyFrame], settings: Settings) -> Self:
        """Counts what evaluators left.

        Args:
            rows: of each table by its name, `columns_of` at least.
            settings: the search's configuration.
        """
        failures: Counter[tuple[str, str]] = Counter()
        seconds = [0.0]
        for table in tables_of(settings):
            # A candidate that fails in several modes or at several rates is one failure.
            failed = table.failures(rows[table.name]).select(*KEY, "status").unique().collect()
            failures.update((table.name, reason) for reason in failed["status"])
            seconds += rows[table.name].select("device_seconds").collect()["device_seconds"].to_list()
        mode = pl.col("mode") == settings["latency"]["objective"]
        times = rows[LATENCY_TABLE.name].filter(mode).select("reference_seconds_median", "marked").collect()
        reference = times["reference_seconds_median"].drop_nulls().to_list()
        bounds = (min(reference), max(reference)) if reference else ()
        return cls(dict(failures), bounds, int(times["marked"].sum()), math.fsum(seconds))

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Self:
        """That of several generations together."""
        listed = list(tallies)
        failures: Counter[tuple[str, str]] = Counter()
        for one in listed:
            failures.update(one.failures)
        seconds = [second for one in listed for second in one.reference_seconds]
        bounds = (min(seconds), max(seconds)) if seconds else ()
        spent = math.fsum(one.device_seconds for one in listed)
        return cls(dict(failures), bounds, sum(one.marked for one in listed), spent)

    def to_json(self) -> dict[str, Any]:
        """As JSON takes it."""
        failures = [[stage, reason, count] for (stage, reason), count in sorted(self.failures.items())]
        reference = list(self.reference_seconds)
        return {
            **{"failures": failures, "reference_seconds": reference, "marked": self.marked},
            "device_seconds": self.device_seconds,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """Reads what `to_json` made."""
        failures = {(stage, reason): count for stage, reason, count in data["failures"]}
        return cls(failures, tuple(data["reference_seconds"]), data["marked"], data["device_seconds"])


def columns_of(table: EvaluatorTable) -> tuple[str, ...]:
    """What `measured` and a tally read of a table."""
    of_latency = ("mode", "marked", "reference_seconds_median") if table is LATENCY_TABLE else ()
    return tuple(dict.fromkeys((*table.columns, *of_latency, "device_seconds")))
