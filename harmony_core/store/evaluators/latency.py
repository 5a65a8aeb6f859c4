"""Latency: a row for each candidate and mode."""

from __future__ import annotations

import polars as pl

from harmony_core.store import schemas
from harmony_core.store.evaluators.registry import register
from harmony_core.store.evaluators.table import KEY, EvaluatorTable, Row, Settings


class LatencyTable(EvaluatorTable):
    """Of a candidate's modes `latency.objective` counts."""

    name = "latency"
    schema = schemas.LATENCY
    metrics = ("latency_seconds",)

    @property
    def columns(self) -> tuple[str, ...]:
        """What `by_candidate` and `failures` read."""
        return (*super().columns, "mode", "marked")

    def by_candidate(self, rows: pl.LazyFrame, settings: Settings) -> pl.LazyFrame:
        """Status, latency_seconds [s] and latency_marked, in one mode."""
        of_mode = rows.filter(pl.col("mode") == settings["latency"]["objective"])
        first = of_mode.sort("shard").unique(KEY, keep="first", maintain_order=True)
        return first.select(*KEY, "status", "latency_seconds", latency_marked="marked")

    def counts(self, row: Row, settings: Settings) -> bool:
        """Whether it is of the objective's mode."""
        return bool(row["mode"] == settings["latency"]["objective"])


LATENCY_TABLE = register(LatencyTable())
