"""The candidates of one generation with what is known of each, from its tables and from the journals of open shards."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from harmony_core.errors import UserError
from harmony_core.metrics import metric, shown
from harmony_core.results import measured, violation
from harmony_core.search.config import Config
from harmony_core.store import POPULATION, SELECTION, SearchFolder, read_table
from harmony_core.store.evaluators import EvaluatorTable, decisive_tables, tables_of, viewed_tables
from harmony_core.store.schemas import ORIGINS, POPULATION_METRICS, STATUSES
from harmony_core.store.table import empty
from harmony_core.ui.families import FAMILY, MASK, with_families
from harmony_core.ui.open_shard import OpenShard

_TOLD = ("candidate", "architecture_id", "pattern", "origin", "name", "d_model", "num_blocks")


@dataclass(frozen=True)
class Problem:
    """A file that is not what it should be.

    Args:
        path: which.
        text: what is wrong, and what helps, in a line.
        rows: candidates of which something is not shown for it; None where nobody knows.
    """

    path: str
    text: str
    rows: int | None


class Columns:
    """What every candidate has a column for, in any search of one configuration.

    Args:
        config: names the objectives, and what they are measured by.
        settings: the same as the manifest holds it.
    """

    def __init__(self, config: Config, settings: dict[str, Any]) -> None:
        self.settings = settings
        self.per_shard = config.execution.candidates_per_job
        self.num_shards = config.num_shards()
        self.objectives = [one.name for one in config.search.objectives]
        self.targets = {one.name: one.target for one in config.search.objectives}
        self.metrics = [one.name for one in shown(self.objectives)]
        self.static = [name for name in self.metrics if metric(name).is_static]
        self.measured = [name for name in self.metrics if name not in self.static]
        kinds = {name: pl.Float64() for name in self.metrics}
        self.schema: dict[str, Any] = {
            **{"generation": pl.Int32, "candidate": pl.Int32, "architecture_id": pl.String, "pattern": pl.String},
            **{"origin": pl.Enum(ORIGINS), "name": pl.String, "d_model": pl.Int32, "num_blocks": pl.Int32},
            **{"status": pl.Enum(STATUSES), **kinds, "violation": pl.Float64, "family": FAMILY, "kinds": MASK},
        }

    def fit(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Rows in these columns; what they have not is null."""
        missing = [pl.lit(None).alias(name) for name in self.schema if name not in rows.columns]
        return rows.with_columns(missing).select(pl.col(name).cast(kind) for name, kind in self.schema.items())

    def empty(self) -> pl.DataFrame:
        """No rows."""
        return pl.DataFrame(schema=self.schema)


class GenerationRows:
    """Follows one generation; its files are read again where they have changed, and journals from where they were left.

    Args:
        folder: the search's.
        generation: its number.
        columns: what is wanted.
    """

    def __init__(self, folder: SearchFolder, generation: int, columns: Columns) -> None:
        self.generation, self.rows = generation, columns.empty()
        self.is_settled = False
        self._folder, self._columns = folder, columns
        self._problems: dict[Path, Problem] = {}
        self._seen: dict[Path, tuple[int, ...] | None] = {}
        self._tables: dict[Path, pl.DataFrame] = {}
        self._shards: dict[tuple[str, int], OpenShard] = {}

    @property
    def problems(self) -> list[Problem]:
        """Its files that are damaged or gone."""
        return list(self._problems.values())

    @property
    def open_shards(self) -> list[OpenShard]:
        """Those that are worked on."""
        return list(self._shards.values())

    def read(self) -> bool:
        """Takes in what is new; whether the rows have changed."""
        population = self._folder.population(self.generation)
        selection = self._folder.selection(self.generation)
        changed = [self._has_changed(path) for path in (population, selection)]
        if self.is_settled and not any(changed):
            return False
        if any(changed):
            self._problems.clear()
        self.is_settled = False
        wanted = [*_TOLD, *dict.fromkeys([*POPULATION_METRICS, *self._columns.static])]
        members = self._table(population, POPULATION, wanted)
        chosen = self._selected(selection, members)
        if members is None:
            # Its rows are told by the selection alone, which has no blocks.
            self._lost(population, None if chosen is None else len(chosen))
            self.rows = self._columns.fit(self._columns.empty() if chosen is None else self._keyed(chosen))
            self.is_settled = chosen is not None
            return any(changed)
        if chosen is not None:
            self._shards.clear()
            joined = members.join(chosen, on="candidate", how="left", maintain_order="left")
            self.is_settled = True
        else:
            if not (self._read_shards() or any(changed)):
                return False
            joined = self._joined(members)
            # Nothing more comes of a generation whose selection is there and cannot be read.
            self.is_settled = selection in self._problems and not self._shards
        self.rows = self._columns.fit(with_families(self._keyed(joined)))
        return True

    def _keyed(self, rows: pl.DataFrame) -> pl.DataFrame:
        return rows.with_columns(generation=pl.lit(self.generation, pl.Int32))

    def _selected(self, path: Path, members: pl.DataFrame | None) -> pl.DataFrame | None:
        """What the selection says of the generation's own; None where there is none that can be read."""
        known = [*self._columns.measured, *([] if members is not None else self._columns.static)]
        wanted = ["birth_generation", "candidate", "architecture_id", "status", "violation", *known]
        rows = self._table(path, SELECTION, wanted)
        if rows is None:
            if path in self._problems:
                self._lost(path, 0, "; its rows are read from the shards")
            return None
        own = rows.filter(pl.col("birth_generation") == self.generation).drop("birth_generation")
        return own if members is None else own.drop("architecture_id")

    def _joined(self, members: pl.DataFrame) -> pl.DataFrame:
        """Members with what shards and journals say of them."""
        settings = self._columns.settings
        rows = {table.name: self._rows_of(table).lazy() for table in viewed_tables(settings)}
        found = measured(self._keyed(members).lazy(), rows, settings).collect()
        known = {name: target for name, target in self._columns.targets.items() if name in found.columns}
        return found.with_columns(violation=pl.when(pl.col("status") == "ok").then(violation(known)))

    def _rows_of(self, table: EvaluatorTable) -> pl.DataFrame:
        wanted = pa.schema([field for field in table.schema if field.name in table.columns])
        frames = [empty(wanted)]
        for shard in range(self._columns.num_shards):
            stored = self._tables.get(self._folder.shard(self.generation, table.name, shard))
            if stored is not None:
                frames.append(stored)
            elif (followed := self._shards.get((table.name, shard))) is not None:
                frames.append(_journalled(followed, wanted, self.generation))
        return pl.concat(frames, how="diagonal")

    def _read_shards(self) -> bool:
        changed = False
        taken = [one for one in tables_of(self._columns.settings) if one.takes == "all"]
        decisive = [one.name for one in decisive_tables(self._columns.settings)]
        for table in taken:
            for number in range(self._columns.num_shards):
                path = self._folder.shard(self.generation, table.name, number)
                if self._has_changed(path):
                    changed = True
                    stored = self._table(path, table.schema, list(table.columns))
                    if path in self._problems:
                        self._lost(path, self._columns.per_shard if table.name in decisive else 0)
                    if stored is None:
                        self._tables.pop(path, None)
                    else:
                        self._tables[path] = stored
                        self._shards.pop((table.name, number), None)
                if path not in self._tables:
                    changed |= self._followed(table, number).read()
        return changed

    def _followed(self, table: EvaluatorTable, number: int) -> OpenShard:
        part = self._folder.generation(self.generation).name
        journal = self._folder.work(table.name, part, f"shard={number:03d}", "journal.jsonl")
        key = (table.name, number)
        if key not in self._shards:
            self._shards[key] = OpenShard(table, journal, self._columns.settings)
        return self._shards[key]

    def _table(self, path: Path, schema: pa.Schema, columns: Sequence[str]) -> pl.DataFrame | None:
        """Some columns of a table; None where there is none, or it is damaged, which is then a problem."""
        if not path.is_file():
            return None
        try:
            return read_table(path, schema, columns)
        except UserError as error:
            # Snakemake removes the outputs of a job that it is about to run again.
            if path.is_file():
                self._problems[path] = Problem(str(path), str(error), None)
            return None

    def _lost(self, path: Path, rows: int | None, more: str = "") -> None:
        """Says what a file that cannot be read costs; one that is gone, once later files show that it was there."""
        told = self._problems.get(path)
        text = f"{path}: missing; `harmony resume {self._folder.path}` makes it again" if told is None else told.text
        self._problems[path] = Problem(str(path), text + more, rows)

    def _has_changed(self, path: Path) -> bool:
        now = _signature(path)
        before = self._seen.get(path, ())
        self._seen[path] = now
        return now != before


def _journalled(shard: OpenShard, wanted: pa.Schema, generation: int) -> pl.DataFrame:
    """Rows of a journal as those of its table; one that has not the table's types is left out, as a damaged line is."""
    frames = []
    for rows in shard.rows.values():
        try:
            content = pa.Table.from_pylist([{name: row[name] for name in wanted.names} for row in rows], wanted)
        except (KeyError, pa.ArrowException, TypeError, OverflowError):
            continue
        frames.append(content)
    if not frames:
        return empty(wanted)
    found = pl.from_arrow(pa.concat_tables(frames))
    assert isinstance(found, pl.DataFrame)
    return found.filter(pl.col("generation") == generation)


def _signature(path: Path) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
