"""Files of a search that are gone or damaged, what they cost, and the search as it is without them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from harmony_core.errors import UserError
from harmony_core.store import (
    LEDGER,
    POPULATION,
    SELECTION,
    SearchFolder,
    missing,
    read_manifest,
    read_table,
)
from harmony_core.store.evaluators import tables_of


@dataclass(frozen=True)
class Gap:
    """A file that a report is made without.

    Args:
        path: the file.
        problem: `missing`, or `damaged` and how.
        fix: what helps.
        cost: which rows are not there for that reason.
    """

    path: Path
    problem: str
    fix: str
    cost: str

    def __str__(self) -> str:
        kind, _, how = self.problem.partition(": ")
        return "; ".join(part for part in (f"{kind}: {self.path}", how, self.fix, f"it costs {self.cost}") if part)


class WithoutDamage(SearchFolder):
    """A search as if some of its files were not there.

    Args:
        path: the search's folder.
        left_out: the files.
    """

    def __init__(self, path: Path, left_out: frozenset[Path]) -> None:
        super().__init__(path)
        self._left_out = left_out

    def population(self, generation: int | None) -> Path:
        """As of any search; a path without a file where that is left out."""
        return self._kept(super().population(generation))

    def ledger(self, generation: int | None) -> Path:
        """As `population`."""
        return self._kept(super().ledger(generation))

    def selection(self, generation: int) -> Path:
        """As `population`."""
        return self._kept(super().selection(generation))

    def shards(self, generation: int | None, table: str) -> list[Path]:
        """The shards that are read."""
        return [path for path in super().shards(generation, table) if path not in self._left_out]

    def _kept(self, path: Path) -> Path:
        return path.with_name(f"{path.name}.left-out") if path in self._left_out else path


def missing_gaps(folder: SearchFolder) -> list[Gap]:
    """Files of finished steps that are gone."""
    fix = f"`harmony resume {folder.path}` makes it again"
    return [Gap(path, "missing", fix, _rows(folder, path)) for path in missing(folder)]


def damaged_gaps(folder: SearchFolder) -> list[Gap]:
    """Tables that are there and cannot be read; reads all of every table, which takes time."""
    found = []
    for path, schema in _tables(folder):
        try:
            read_table(path, schema)
        except UserError as error:
            found.append(Gap(path, f"damaged: {error.value}", error.fix, _rows(folder, path)))
    return found


def _tables(folder: SearchFolder) -> Iterator[tuple[Path, pa.Schema]]:
    tables = tables_of(read_manifest(folder.manifest).config)
    for generation in (*folder.generations(), None):
        single = [(folder.population(generation), POPULATION), (folder.ledger(generation), LEDGER)]
        single += [] if generation is None else [(folder.selection(generation), SELECTION)]
        yield from (one for one in single if one[0].is_file())
        for table in tables:
            for name, schema in table.schemas.items():
                yield from ((path, schema) for path in folder.shards(generation, name))


def _rows(folder: SearchFolder, path: Path) -> str:
    """How many rows, by the file's own footer where that can be read, else at most so many as the search plans."""
    try:
        return f"{pq.read_metadata(path).num_rows:,} rows"
    except (OSError, ValueError, pa.ArrowException):
        pass
    config = read_manifest(folder.manifest).config
    if "shard=" in str(path.relative_to(folder.path)):
        table = path.stem if path.parent.name.startswith("shard=") else path.parent.name
        return f"the {table} of up to {config['execution']['candidates_per_job']} candidates"
    if path.stem == "population":
        return f"up to {config['search']['population']} candidates, with all that was measured of them"
    return f"the {path.stem} of {path.parent.name}"
