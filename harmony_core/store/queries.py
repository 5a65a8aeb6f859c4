"""A search's tables as LazyFrames, whatever part of the search is done by now."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
from polars.io.plugins import register_io_source

from harmony_core.store import schemas
from harmony_core.store.folder import SearchFolder
from harmony_core.store.table import check_file, empty, read_table

Search = SearchFolder | Path | str


def population(search: Search, promoted: bool = False) -> pl.LazyFrame:
    """Candidates of all generations (`schemas.POPULATION`), or those that promotion trained.

    Here and below, `search` is a folder (`results/nano`) or a name under `results/`. A search
    without rows yet gives an empty frame. UserError: no such search, or a damaged file.
    """
    folder = SearchFolder.find(search)
    return scan([folder.population(g) for g in _generations(folder, promoted)], schemas.POPULATION)


def training(search: Search, promoted: bool = False) -> pl.LazyFrame:
    """Results of training (`schemas.TRAINING`); the test split is read in `promoted` rows alone."""
    return _shards(search, "training", schemas.TRAINING, promoted)


def curves(search: Search, promoted: bool = False) -> pl.LazyFrame:
    """Training step by step (`schemas.CURVES`)."""
    return _shards(search, "curves", schemas.CURVES, promoted)


def latency(search: Search, promoted: bool = False) -> pl.LazyFrame:
    """Results of the benchmark (`schemas.LATENCY`)."""
    return _shards(search, "latency", schemas.LATENCY, promoted)


def selection(search: Search) -> pl.LazyFrame:
    """Who survived, and why (`schemas.SELECTION`): a row for each selection that a candidate was in."""
    folder = SearchFolder.find(search)
    return scan([folder.selection(g) for g in folder.generations()], schemas.SELECTION)


def ledger(search: Search) -> pl.LazyFrame:
    """Draws that were thrown away and candidates that failed, counted by reason (`schemas.LEDGER`)."""
    folder = SearchFolder.find(search)
    drawn = scan([folder.ledger(g) for g in folder.generations()], schemas.LEDGER)
    keys = ["generation", "candidate"]
    # A candidate that fails in several modes or replicates is one failure.
    failures = [
        failed.filter(pl.col("status") != "ok")
        .select("search", *keys, stage=pl.lit(stage), reason=pl.col("status"))
        .unique([*keys, "reason"])
        .group_by("search", "generation", "stage", "reason")
        .agg(count=pl.len().cast(pl.Int64))
        for stage, failed in (("training", training(folder)), ("latency", latency(folder)))
    ]
    return pl.concat([drawn, *failures]).sort("generation", "stage", "reason")


def scan(paths: list[Path], schema: pa.Schema) -> pl.LazyFrame:
    """The files among `paths` that are there, as one LazyFrame.

    Raises:
        UserError: a file is missing its end, or of another schema; damage to its rows is told when they are collected.
    """
    there = [path for path in paths if path.is_file()]
    for path in there:
        check_file(path, schema)

    def read(
        columns: list[str] | None, predicate: pl.Expr | None, num_rows: int | None, _batch_size: int | None
    ) -> Iterator[pl.DataFrame]:
        for path in there:
            rows = read_table(path, schema, columns)
            rows = rows if predicate is None else rows.filter(predicate)
            rows = rows if num_rows is None else rows.head(num_rows)
            num_rows = None if num_rows is None else num_rows - len(rows)
            yield rows

    # Not Polars' own scan, which compares no checksums: a flipped bit would be a result.
    return register_io_source(read, schema=empty(schema).schema)


def _shards(search: Search, table: str, schema: pa.Schema, promoted: bool) -> pl.LazyFrame:
    folder = SearchFolder.find(search)
    return scan([path for g in _generations(folder, promoted) for path in folder.shards(g, table)], schema)


def _generations(folder: SearchFolder, promoted: bool) -> list[int | None]:
    return [None] if promoted else list(folder.generations())
