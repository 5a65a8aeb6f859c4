"""Who failed, at what, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import polars as pl

from harmony_core.results.summaries import Summaries
from harmony_core.store.evaluators import KEY, Settings, tables_of
from harmony_core.store.queries import scan

_TOLD = ("architecture_id", "status", "error", "host", "device", "device_seconds", "started_at")


def failures(summaries: Summaries) -> pl.DataFrame:
    """Every candidate that failed, once for each stage and reason, in the order in which it was made.

    Columns: generation (null of what promotion trained), candidate, architecture_id, stage (the evaluator), status,
    error, host, device, device_seconds and started_at. One that failed at some learning rates only has not failed.

    Args:
        summaries: the search's.

    Raises:
        UserError: a file is damaged.
    """
    settings, folder = summaries.config, summaries.folder
    found = summaries.each(
        "failures",
        lambda generations: _failed(
            {
                table.name: [path for one in generations for path in one.shards[table.name]]
                for table in tables_of(settings)
            },
            settings,
        ),
    )
    promoted = _failed({table.name: folder.shards(None, table.name) for table in tables_of(settings)}, settings)
    return pl.concat([*found, promoted]).sort(*KEY, nulls_last=True, maintain_order=True)


def _failed(shards: Mapping[str, Sequence[Path]], settings: Settings) -> pl.DataFrame:
    """The failures that some shards tell of, by candidate.

    Args:
        shards: by the name of their table.
        settings: the search's configuration.
    """
    found = []
    for table in tables_of(settings):
        columns = list(dict.fromkeys([*table.columns, *(name for name in _TOLD if name in table.schema.names)]))
        rows = scan(shards[table.name], table.schema, columns)
        failed = table.failures(rows).unique([*KEY, "status"], keep="first", maintain_order=True)
        told = [name for name in _TOLD if name in columns]
        found.append(failed.select(*KEY, pl.lit(table.name).alias("stage"), *told).collect())
    every = pl.concat(found, how="diagonal").sort(*KEY, nulls_last=True, maintain_order=True)
    first = [*KEY, "architecture_id", "stage"]
    return every.select(*first, pl.exclude(first))
