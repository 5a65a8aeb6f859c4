"""A search's tables as LazyFrames, whatever part of the search is done by now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa

from harmony_core.store import schemas
from harmony_core.store.evaluators import KEY, Settings, require_table, tables_of, viewed_tables
from harmony_core.store.folder import SearchFolder
from harmony_core.store.manifest import read_manifest
from harmony_core.store.table import empty, read_table

Search = SearchFolder | Path | str
Columns = Sequence[str] | None


def population(search: Search, promoted: bool = False, columns: Columns = None) -> pl.LazyFrame:
    """Candidates of all generations (`schemas.POPULATION`), or those that promotion trained.

    A search without rows yet gives an empty frame; a shard that is not there gives no rows (`store.missing` knows
    which should be). This holds for every query here.

    Args:
        search: a folder (`results/nano`), or a name under `results/`.
        promoted: read promotion's rows instead of the generations'.
        columns: those that are read; None is all.

    Raises:
        UserError: no such search, or a damaged file.
    """
    folder = SearchFolder.find(search)
    return scan([folder.population(g) for g in _generations(folder, promoted)], schemas.POPULATION, columns)


def results(search: Search, evaluator: str, promoted: bool = False, columns: Columns = None) -> pl.LazyFrame:
    """Results of an evaluator, by its table's schema.

    Args:
        search: a folder, or a name under `results/`.
        evaluator: its name, one of the search's `evaluators`.
        promoted: read promotion's rows instead of the generations'.
        columns: those that are read; None is all.

    Raises:
        UserError: the evaluator is not installed, no such search, or a damaged file.
    """
    return table(search, evaluator, require_table(evaluator).schema, promoted, columns)


def viewed(search: Search, settings: Settings) -> dict[str, pl.LazyFrame]:
    """What `store.measured` reads of the results in a search's generations."""
    return {table.name: results(search, table.name, columns=table.columns) for table in viewed_tables(settings)}


def training(search: Search, promoted: bool = False, columns: Columns = None) -> pl.LazyFrame:
    """Results of training (`schemas.TRAINING`); the test split is read in `promoted` rows alone.

    Args:
        search: a folder, or a name under `results/`.
        promoted: read promotion's rows instead of the generations'.
        columns: those that are read; None is all.
    """
    return results(search, "training", promoted, columns)


def curves(search: Search, promoted: bool = False, keep: pl.Expr | None = None) -> pl.LazyFrame:
    """Training step by step (`schemas.CURVES`).

    Args:
        search: a folder, or a name under `results/`.
        promoted: read promotion's rows instead of the generations'.
        keep: true of the rows that are wanted, of these many; None is all.
    """
    return table(search, "curves", schemas.CURVES, promoted, keep=keep)


def latency(search: Search, promoted: bool = False, columns: Columns = None) -> pl.LazyFrame:
    """Results of the benchmark (`schemas.LATENCY`).

    Args:
        search: a folder, or a name under `results/`.
        promoted: read promotion's rows instead of the generations'.
        columns: those that are read; None is all.
    """
    return results(search, "latency", promoted, columns)


def selection(search: Search) -> pl.LazyFrame:
    """Who survived, and why (`schemas.SELECTION`): a row for each selection that a candidate was in."""
    folder = SearchFolder.find(search)
    return scan([folder.selection(g) for g in folder.generations()], schemas.SELECTION)


def ledger(search: Search) -> pl.LazyFrame:
    """Draws that were thrown away and candidates that failed, counted by reason (`schemas.LEDGER`)."""
    folder = SearchFolder.find(search)
    drawn = scan([folder.ledger(g) for g in folder.generations()], schemas.LEDGER)
    # A candidate that fails in several modes or at several rates is one failure.
    failures = [
        table.failures(results(folder, table.name, columns=["search", *table.columns]))
        .select("search", *KEY, stage=pl.lit(table.name), reason=pl.col("status"))
        .unique([*KEY, "reason"])
        .group_by("search", "generation", "stage", "reason")
        .agg(count=pl.len().cast(pl.Int64))
        for table in tables_of(read_manifest(folder.manifest).config)
    ]
    return pl.concat([drawn, *failures]).sort("generation", "stage", "reason")


def scan(
    paths: Sequence[Path], schema: pa.Schema, columns: Columns = None, keep: pl.Expr | None = None
) -> pl.LazyFrame:
    """The rows of those files among `paths` that are there.

    They are read here, in the caller's thread. A source of Polars' own, which reads when it is collected, would run
    Python in threads of Polars: where one file is damaged the others are still being read when the error has ended
    the process, and the C library aborts it for that ("exception not rethrown").

    Args:
        paths: shards of one table, in the order of the rows.
        schema: the table's, one of `schemas`.
        columns: those that are read; None is all.
        keep: true of the rows that are wanted; None is all.

    Raises:
        UserError: a file is damaged, or of another schema.
    """
    wanted = pa.schema([field for field in schema if columns is None or field.name in columns])
    frames = [empty(wanted)]
    for path in paths:
        if path.is_file():
            rows = read_table(path, schema, columns)
            frames.append(rows if keep is None else rows.filter(keep))
    # Some searches have metrics of their own beside the schema's columns.
    return pl.concat(frames, how="diagonal").lazy()


def table(
    search: Search,
    name: str,
    schema: pa.Schema,
    promoted: bool = False,
    columns: Columns = None,
    keep: pl.Expr | None = None,
) -> pl.LazyFrame:
    """Any table of an evaluator's shards, or of one beside it.

    Args:
        search: a folder, or a name under `results/`.
        name: the table's.
        schema: its schema.
        promoted: read promotion's rows instead of the generations'.
        columns: those that are read; None is all.
        keep: true of the rows that are wanted; None is all.
    """
    folder = SearchFolder.find(search)
    paths = [path for g in _generations(folder, promoted) for path in folder.shards(g, name)]
    return scan(paths, schema, columns, keep)


def _generations(folder: SearchFolder, promoted: bool) -> list[int | None]:
    return [None] if promoted else list(folder.generations())
