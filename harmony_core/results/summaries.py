"""All candidates of a search with their results; of a large finished generation from its one summary."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pyarrow as pa

from harmony_core.errors import UserError
from harmony_core.metrics import is_metric
from harmony_core.results import summary_file
from harmony_core.results.candidates import measured
from harmony_core.results.tally import Tally, columns_of
from harmony_core.store import schemas
from harmony_core.store.evaluators import KEY, tables_of, viewed_tables
from harmony_core.store.folder import SearchFolder
from harmony_core.store.manifest import read_manifest
from harmony_core.store.queries import Search, scan
from harmony_core.store.table import empty

# What is asked of an architecture alone is read from its population.
LEFT_OUT = ("architecture", "parents")
# Files of a smaller generation are read in no time.
LEAST_CANDIDATES = 1000
_READERS = 4


@dataclass(frozen=True)
class Generation:
    """The files of a generation that there were when a search was looked at.

    Args:
        number: its number.
        population: who is in it.
        shards: by the name of an evaluator's table.
        selection: who survives it; None while it is under way.
    """

    number: int
    population: Path
    shards: dict[str, list[Path]]
    selection: Path | None

    @property
    def files(self) -> list[Path]:
        """All of them."""
        every = [self.population, *(path for paths in self.shards.values() for path in paths)]
        return every if self.selection is None else [*every, self.selection]


class Summaries:
    """A search's candidates at one moment: its files are listed once, and each stays as it is.

    Args:
        search: a folder, or a name under `results/`.

    Raises:
        UserError: no such search, or its manifest is damaged.
    """

    def __init__(self, search: Search) -> None:
        self.folder = SearchFolder.find(search)
        self.manifest = read_manifest(self.folder.manifest)
        self.config = self.manifest.config
        self.objectives = [objective["name"] for objective in self.config["search"]["objectives"]]
        self._tables = list(dict.fromkeys([*viewed_tables(self.config), *tables_of(self.config)]))
        self.generations = [self._listed(number) for number in self.folder.generations()]
        self._tallies: dict[int, Tally] = {}
        # Why a summary could not be kept, where one could not.
        self.not_kept: UserError | OSError | None = None

    @property
    def under_way(self) -> list[int]:
        """Generations that are not selected from yet."""
        return [one.number for one in self.generations if one.selection is None]

    @cached_property
    def schema(self) -> pl.Schema:
        """Columns of `candidates` and their types: those of `schemas.POPULATION` but `LEFT_OUT`, then the results."""
        population = empty(self.population_schema).lazy().drop(LEFT_OUT)
        rows = {table.name: empty(table.schema).lazy() for table in viewed_tables(self.config)}
        found = measured(population, rows, self.config).collect_schema()
        # Whatever measures an objective may not be installed any more; the selections have it too.
        return pl.Schema({**found, **{name: pl.Float64() for name in self.objectives if name not in found}})

    def candidates(self, columns: Sequence[str] | None = None) -> pl.DataFrame:
        """Every candidate with its results, sorted by generation and candidate; `status` is null where one has none.

        Args:
            columns: those that are read, of `schema`; None is all.

        Raises:
            UserError: a file is damaged.
        """
        wanted = [name for name in self.schema if columns is None or name in columns]
        return self._rows(self.generations, list(dict.fromkeys([*KEY, *wanted]))).select(wanted)

    def keep(self, generation: int) -> None:
        """Keeps the summary of a generation that was selected from, so that whoever asks first need not."""
        for one in self._finished:
            if one.number == generation and self._kept(one, KEY) is None:
                self._made(one)

    def tally(self) -> Tally:
        """What is told of all generations; asked after `candidates`, nothing is read twice."""
        for one in self._finished:
            if one.number not in self._tallies:
                self._made(one) if self._kept(one, KEY) is None else None
        return Tally.total([*self._tallies.values(), *([self._live[1]] if self._others else [])])

    def each(self, kind: str, make: Callable[[Sequence[Generation]], pl.DataFrame]) -> list[pl.DataFrame]:
        """Rows of another kind: a frame of each large finished generation, kept like a summary, then one of the others.

        Args:
            kind: names the folder that they are kept in.
            make: gives the rows of generations, of the same columns always, from their files.

        Raises:
            UserError: a file is damaged.
        """
        frames = []
        for one in self._finished:
            path, before = self._path(one, kind), self._state(one)
            found = None if before is None else summary_file.read(path, before)
            if found is None:
                frames.append(make([one]))
                if before is not None and before == self._state(one):
                    self.not_kept = self.not_kept or summary_file.keep(path, before, frames[-1])
            else:
                frames.append(found[0])
        return [*frames, make(self._others)]

    def completed(self, rows: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
        """Rows with more of their columns, in the same order.

        Args:
            rows: of `candidates`, with their generation and candidate.
            columns: to add, of `schema` or `LEFT_OUT`; those that are there stay.

        Raises:
            UserError: a file is damaged.
        """
        added = [name for name in dict.fromkeys(columns) if name not in rows.columns]
        numbers = set(rows["generation"].unique())
        of_rows = [one for one in self.generations if one.number in numbers]
        from_view = [name for name in added if name in self.schema]
        if from_view:
            members: dict[int, list[int]] = defaultdict(list)
            for number, candidate in rows.select(KEY).iter_rows():
                members[number].append(candidate)
            found = self._rows(of_rows, [*KEY, *from_view], members)
            rows = rows.join(found, on=KEY, how="left", maintain_order="left")
        if from_population := [name for name in added if name in LEFT_OUT]:
            frames = []
            for one in of_rows:
                # One generation after another: a million architectures take more memory than all that is told of them.
                members_of = scan([one.population], schemas.POPULATION, [*KEY, *from_population])
                frames.append(members_of.join(rows.lazy().select(KEY), on=KEY, how="semi").collect())
            told = pl.concat(frames) if frames else empty(schemas.POPULATION).select(*KEY, *from_population)
            rows = rows.join(told, on=KEY, how="left", maintain_order="left")
        return rows

    @cached_property
    def _finished(self) -> list[Generation]:
        """Large generations that are over: those that have a summary."""
        if self.config["search"]["population"] < LEAST_CANDIDATES:
            return []
        return [one for one in self.generations if one.selection is not None]

    @cached_property
    def _others(self) -> list[Generation]:
        return [one for one in self.generations if one not in self._finished]

    @cached_property
    def _live(self) -> tuple[pl.DataFrame, Tally]:
        """Rows and tally of the other generations, from their files."""
        return self._read(self._others)

    def _rows(
        self,
        generations: Sequence[Generation],
        columns: Sequence[str],
        members: Mapping[int, Collection[int]] | None = None,
    ) -> pl.DataFrame:
        """Rows of generations, sorted.

        Args:
            generations: in order.
            columns: the key among them.
            members: the candidates of each by its number, whose rows are needed, at least; None is all.
        """
        finished = [one for one in generations if one in self._finished]
        with ThreadPoolExecutor(_READERS) as pool:
            found = list(pool.map(lambda one: self._kept(one, columns, members and members[one.number]), finished))
        # What is not there is made here and not in those threads: where one of them raises, another would still run
        # Polars when the process ends.
        frames = {
            one.number: self._made(one).select(columns) if rows is None else rows
            for one, rows in zip(finished, found, strict=True)
        }
        if others := [one.number for one in generations if one not in self._finished]:
            frames[others[0]] = self._live[0].filter(pl.col("generation").is_in(others)).select(columns)
        if not frames:
            return pl.DataFrame(schema={name: self.schema[name] for name in columns})
        rows = pl.concat([frames[number] for number in sorted(frames)])
        return rows.sort(KEY) if others and any(number > others[0] for number in frames) else rows

    def _listed(self, number: int) -> Generation:
        """What there is of a generation."""
        # Evaluated after evaluated: what was written meanwhile is left out of all tables that come before.
        selection = self.folder.selection(number)
        is_over = selection.is_file()
        shards = {table.name: self.folder.shards(number, table.name) for table in reversed(self._tables)}
        return Generation(number, self.folder.population(number), shards, selection if is_over else None)

    def _kept(
        self, one: Generation, columns: Sequence[str], candidates: Collection[int] | None = None
    ) -> pl.DataFrame | None:
        """Columns of a generation's summary; None where none is true of its files."""
        state = self._state(one)
        found = None if state is None else summary_file.read(self._path(one), state, columns, candidates)
        if found is None:
            return None
        rows, told = found
        self._tallies[one.number] = Tally.from_json(told)
        return rows

    def _made(self, one: Generation) -> pl.DataFrame:
        """A generation's rows from its files, which are kept for the next time."""
        before = self._state(one)
        rows, self._tallies[one.number] = self._read([one])
        if before is not None and before == self._state(one):
            refused = summary_file.keep(self._path(one), before, rows, self._tallies[one.number].to_json())
            self.not_kept = self.not_kept or refused
        return rows

    def _state(self, one: Generation) -> summary_file.State | None:
        """The state of a generation's files; None while one is taken away."""
        settings = [self.manifest.config_hash, sorted(table.name for table in self._tables), list(self.schema)]
        try:
            return summary_file.state_of(one.files, settings)
        except OSError:
            return None

    def _path(self, one: Generation, *kind: str) -> Path:
        return self.folder.work("summaries", *kind, f"generation={one.number:03d}.parquet")

    def _read(self, generations: Sequence[Generation]) -> tuple[pl.DataFrame, Tally]:
        """Rows of generations, sorted, and their tally."""
        columns = [name for name in self.population_schema.names if name not in LEFT_OUT]
        population = scan([one.population for one in generations], schemas.POPULATION, columns)
        rows = {
            table.name: scan(
                [path for one in generations for path in one.shards[table.name]], table.schema, columns_of(table)
            )
            for table in self._tables
        }
        found = measured(
            population, {table.name: rows[table.name] for table in viewed_tables(self.config)}, self.config
        )
        known = found.collect_schema().names()
        if unmeasured := [name for name in self.schema if name not in known]:
            selections = [one.selection for one in generations if one.selection is not None]
            selected = _selected(selections, unmeasured)
            found = found.join(selected, on=KEY, how="left", maintain_order="left")
        return found.select(pl.col(name).cast(kind) for name, kind in self.schema.items()).collect(), Tally.of(
            rows, self.config
        )

    @cached_property
    def population_schema(self) -> pa.Schema:
        """That of the search's own populations, as far as its objectives are known."""
        return schemas.with_metrics(schemas.POPULATION, filter(is_metric, self.objectives))


def _selected(selections: Sequence[Path], names: Sequence[str]) -> pl.LazyFrame:
    """Metrics of candidates as they were selected by; null where that was not done yet."""
    rows = scan(selections, schemas.SELECTION).collect()
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names if name not in rows.columns)
    return rows.select("candidate", *names, generation="birth_generation").unique(KEY, keep="first").lazy()
