"""A row of format version 2 as one of today's: the same values, and what the columns since then are in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from harmony_core.migration.version2 import TABLES
from harmony_core.store import schemas

Row = Mapping[str, Any]

TODAY: dict[str, pa.Schema] = {
    "population": schemas.POPULATION,
    "ledger": schemas.LEDGER,
    "training": schemas.TRAINING,
    "curves": schemas.CURVES,
    "latency": schemas.LATENCY,
    "selection": schemas.SELECTION,
    "scaling": schemas.SCALING,
}


def migrated_row(table: str, row: Row) -> dict[str, Any]:
    """The row with every column of today's table; what was not recorded is null.

    Args:
        table: its table's name.
        row: as format version 2 had it, in a table or a journal.
    """
    unknown = {field.name: None for field in TODAY[table] if field.name not in TABLES[table].names}
    return {**unknown, **_known(table, row), **row}


def _known(table: str, row: Row) -> dict[str, Any]:
    """The columns since then that have one right value."""
    if table in ("training", "curves"):
        # Before, a recipe had one learning rate and one token budget.
        return {"rate": 0, "rung": 0}
    if table == "latency":
        # Before, a search looked at the median itself, and measured once.
        return {"latency_seconds": row["seconds_median"], "measurements": min(1, row["repeats"])}
    return {}
