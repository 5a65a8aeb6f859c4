"""The points of a figure of two metrics: who no other beats in them, the search's front, the rest, the baselines."""

from __future__ import annotations

from typing import Any

import polars as pl

from harmony_core.results import front
from harmony_core.ui.catalogue import Snapshot
from harmony_core.ui.families import FAMILIES

# More cannot be told apart, and take long to draw.
MOST_OTHERS = 3000
MOST_MEMBERS = 1000


def front_points(snapshot: Snapshot, promoted: pl.DataFrame, x: str, y: str) -> dict[str, Any]:
    """The figure's points, each `[generation, candidate, id, x, y, family]`, the family by its number.

    Args:
        snapshot: the search's candidates.
        promoted: rows of `promoted_results` with `family`; its baselines are shown.
        x: a metric.
        y: another.

    Returns:
        `line`: who no other beats in these two, by x; `members`: of the search's front, in all objectives; `others`:
        the rest, or a sample of it; `baselines`: presets of the search, and promotion's, with their names.
    """
    known = (pl.col("status") == "ok") & pl.col(x).is_not_null() & pl.col(y).is_not_null()
    rows = snapshot.rows.filter(known)
    line = front(rows, [x, y], constrained=False).unique("architecture_id").sort(x, y)
    members = snapshot.front.filter(known)
    keys = ["generation", "candidate"]
    shown = pl.concat([line.select(keys), members.select(keys)]).unique()
    # Every n-th row: the same ones whoever asks, from all generations alike.
    sampled = rows.gather_every(max(1, -(-len(rows) // MOST_OTHERS))).join(shown, on=keys, how="anti")
    named = snapshot.rows.filter(known, pl.col("name").is_not_null()).select(
        *keys, "architecture_id", x, y, "family", "name"
    )
    again = pl.DataFrame()
    if not promoted.is_empty() and x in promoted.columns and y in promoted.columns:
        # Trained again with promotion's own budget; what has a name is a preset.
        again = promoted.filter(pl.col("name").is_not_null(), pl.col(x).is_not_null(), pl.col(y).is_not_null())
    baselines = [[*_point(row, x, y), row["name"], "in the search"] for row in named.iter_rows(named=True)]
    baselines += [[*_point(row, x, y), row["name"], "promotion"] for row in again.iter_rows(named=True)]
    return {
        "x": x,
        "y": y,
        "version": snapshot.version,
        "total": len(rows),
        "line": _points(line.head(MOST_MEMBERS), x, y),
        "members": _points(members.head(MOST_MEMBERS), x, y),
        "others": _points(sampled, x, y),
        "baselines": baselines[:MOST_MEMBERS],
    }


def _points(rows: pl.DataFrame, x: str, y: str) -> list[list[Any]]:
    number = pl.col("family").to_physical()
    return [list(row) for row in rows.select("generation", "candidate", "architecture_id", x, y, number).iter_rows()]


def _point(row: dict[str, Any], x: str, y: str) -> list[Any]:
    family = row.get("family")
    number = None if family is None else FAMILIES.index(family)
    return [row["generation"], row["candidate"], row["architecture_id"], row[x], row[y], number]
