"""What an evaluator leaves behind: its table, and what the rest of HARMONY reads from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import polars as pl
import pyarrow as pa

KEY = ("generation", "candidate")

Row = Mapping[str, Any]
# A search's configuration as its manifest holds it.
Settings = Mapping[str, Any]


class EvaluatorTable:
    """The results of one evaluator, a row a task or several, in `generation=000/<name>/shard=000.parquet`.

    Its schema has the columns search, generation, shard, candidate, architecture_id, status, error, device_seconds and
    those named below; a row's status is one of `schemas.STATUSES`, and its metrics are null unless that is ok.
    How the rows come about is for the evaluator of the same name to say (`harmony_core.evaluation.evaluator`).
    """

    name: ClassVar[str]
    schema: ClassVar[pa.Schema]
    # Further tables that the same shards write, by name.
    beside: ClassVar[Mapping[str, pa.Schema]] = {}
    # Who is evaluated: everybody, those who survive the selection of their own generation, or the promoted alone. An
    # evaluator that takes everybody or survivors takes the promoted too.
    takes: ClassVar[Literal["all", "survivors", "promoted"]] = "all"
    # The numbers that a search may look at; people who follow it see the first one.
    metrics: ClassVar[tuple[str, ...]]
    # The sum of these columns is the time that a task took [s].
    seconds: ClassVar[tuple[str, ...]] = ("seconds",)

    @property
    def columns(self) -> tuple[str, ...]:
        """What `by_candidate` and `failures` read."""
        return (*KEY, "shard", "status", *self.metrics)

    @property
    def schemas(self) -> dict[str, pa.Schema]:
        """All tables of a shard by name, its own first."""
        return {self.name: self.schema, **self.beside}

    def by_candidate(self, rows: pl.LazyFrame, settings: Settings) -> pl.LazyFrame:
        """One row a candidate: generation, candidate, status, and the columns that the measured view gets.

        Args:
            rows: of this table, those of `columns` at least.
            settings: the search's configuration.
        """
        first = rows.sort("shard").unique(KEY, keep="first", maintain_order=True)
        return first.select(*KEY, "status", *self.metrics)

    def failures(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of candidates that failed here."""
        return rows.filter(pl.col("status") != "ok")

    def counts(self, row: Row, settings: Settings) -> bool:
        """Whether a row is what is told of its task, which may have several."""
        return True
