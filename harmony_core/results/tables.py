"""A search's tables by name, as they are asked of in SQL; of each only the columns that are named are read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import polars as pl
import pyarrow as pa

from harmony_core.results.fronts import front_of
from harmony_core.results.summaries import Summaries
from harmony_core.results.views import promoted_results
from harmony_core.store import queries, schemas
from harmony_core.store.evaluators import tables_of
from harmony_core.store.table import empty
from harmony_core.store.task_scores import TASK_SCORES, task_scores

Columns = Sequence[str] | None


class NamedTables:
    """The tables that `harmony sql` knows: what the store has, what the leaderboard has, and who is whose parent.

    Args:
        summaries: the search's.
    """

    def __init__(self, summaries: Summaries) -> None:
        self._summaries, self._folder = summaries, summaries.folder
        self._evaluated: dict[str, pa.Schema] = {}
        for table in tables_of(summaries.config):
            self._evaluated |= table.schemas
        edges = {"parent_id": pl.String(), "generation": pl.Int32(), "candidate": pl.Int32()}
        edges |= {"architecture_id": pl.String(), "origin": pl.String(), "operator": pl.String()}
        self.schemas: dict[str, pl.Schema] = {
            "candidates": summaries.schema,
            "front": summaries.schema,
            "population": empty(summaries.population_schema).schema,
            **{name: empty(schema).schema for name, schema in self._evaluated.items()},
            "selection": empty(schemas.SELECTION).schema,
            "ledger": empty(schemas.LEDGER).schema,
            "lineage": pl.Schema(edges),
            "promoted": promoted_results(self._folder).collect_schema(),
            **{f"promoted_{name}": empty(schema).schema for name, schema in self._evaluated.items()},
            "task_scores": empty(TASK_SCORES).schema,
        }

    def read(self, name: str, columns: Columns = None) -> pl.LazyFrame:
        """A table, whatever part of the search is done by now.

        Args:
            name: one of `schemas`.
            columns: those that are needed; the table may have more. None is all.

        Raises:
            UserError: a file is damaged.
        """
        readers: dict[str, Callable[[Columns], pl.LazyFrame]] = {
            "candidates": lambda wanted: self._summaries.candidates(wanted).lazy(),
            "front": self._front,
            "population": lambda wanted: queries.population(self._folder, columns=wanted),
            "selection": lambda _: queries.selection(self._folder),
            "ledger": lambda _: queries.ledger(self._folder),
            "lineage": lambda _: self._lineage(),
            "promoted": lambda _: promoted_results(self._folder),
            "task_scores": lambda _: task_scores(self._folder),
        }
        if name in readers:
            return readers[name](columns)
        table = name.removeprefix("promoted_")
        return queries.table(self._folder, table, self._evaluated[table], promoted=name != table, columns=columns)

    def _front(self, columns: Columns) -> pl.LazyFrame:
        wanted = self._summaries.schema.names() if columns is None else columns
        return self._summaries.completed(front_of(self._summaries), wanted).lazy().select(wanted)

    def _lineage(self) -> pl.LazyFrame:
        """A row for each parent of each candidate."""
        names = [name for name in self.schemas["lineage"] if name != "parent_id"]
        rows = queries.population(self._folder, columns=[*names, "parents"])
        rows = rows.explode("parents").drop_nulls("parents").rename({"parents": "parent_id"})
        return rows.select(self.schemas["lineage"].names())
