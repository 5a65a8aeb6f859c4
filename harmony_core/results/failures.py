"""Who failed, at what, and why."""

from __future__ import annotations

import polars as pl

from harmony_core.results.summaries import Summaries
from harmony_core.store import queries
from harmony_core.store.evaluators import KEY, tables_of

_TOLD = ("architecture_id", "status", "error", "host", "device", "device_seconds", "started_at")


def failures(summaries: Summaries) -> pl.DataFrame:
    """Every candidate that failed, once for each stage and reason, in the order in which it was made.

    Columns: generation (null of what promotion trained), candidate, architecture_id, stage (the evaluator), status,
    error, host, device, device_seconds and started_at. One that failed at some learning rates only has not failed.

    Args:
        summaries: the search's.
    """
    found = []
    for table in tables_of(summaries.config):
        columns = list(dict.fromkeys([*table.columns, *(name for name in _TOLD if name in table.schema.names)]))
        for promoted in (False, True):
            rows = queries.results(summaries.folder, table.name, promoted, columns)
            failed = table.failures(rows).unique([*KEY, "status"], keep="first", maintain_order=True)
            told = [name for name in _TOLD if name in columns]
            found.append(failed.select(*KEY, pl.lit(table.name).alias("stage"), *told).collect())
    every = pl.concat(found, how="diagonal").sort(*KEY, nulls_last=True, maintain_order=True)
    first = [*KEY, "architecture_id", "stage"]
    return every.select(*first, pl.exclude(first))
