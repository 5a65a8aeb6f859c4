"""What a search has taken of its devices, by what was measured."""

from __future__ import annotations

import polars as pl

from harmony_core.store import SearchFolder, read_manifest
from harmony_core.store.evaluators import tables_of
from harmony_core.store.queries import results


def device_time(folder: SearchFolder) -> pl.DataFrame:
    """A row an evaluator, of the search and of promotion, most time first.

    Columns: stage, candidates, seconds (device seconds, lost attempts included) and failed_seconds, those of rows that
    are not ok. A device is a GPU, or where there is none a CPU slot.
    """
    settings, rows = read_manifest(folder.manifest).config, []
    for promoted in (False, True):
        for table in tables_of(settings):
            columns = ["generation", "candidate", "status", "device_seconds"]
            found = results(folder, table.name, promoted, columns).collect()
            if found.is_empty():
                continue
            failed = found.filter(pl.col("status") != "ok")["device_seconds"].sum()
            name = f"promotion: {table.name}" if promoted else table.name
            candidates = found.select("generation", "candidate").n_unique()
            rows.append((name, candidates, found["device_seconds"].sum(), failed))
    schema = {"stage": pl.String, "candidates": pl.Int64, "seconds": pl.Float64, "failed_seconds": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row").sort("seconds", descending=True, maintain_order=True)
