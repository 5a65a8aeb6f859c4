"""Where a candidate comes from: its ancestors, what each variation changed, and what that did to the metrics."""

from __future__ import annotations

from typing import Any

import polars as pl

from harmony_core.metrics import shown
from harmony_core.results.changes import changes
from harmony_core.results.summaries import LEFT_OUT, Summaries
from harmony_core.results.views import family
from harmony_core.store.evaluators import KEY


def ancestry(summaries: Summaries, architecture_id: str) -> pl.DataFrame:
    """An architecture and its ancestors, itself first, with results and with what made each of its parents.

    Columns: depth (0 for itself), architecture_id, generation, candidate, origin, operator, parents, changed (what
    makes it of its first parent, a change each; null where that has no row), status, the metrics that tables show, and
    for each of them `NAME_change`, its value less the first parent's; pattern.

    Args:
        summaries: the search's.
        architecture_id: whose.

    Raises:
        UserError: the search has no such architecture.
    """
    metrics = [one.name for one in shown(summaries.objectives) if one.name in summaries.schema]
    told_of_each = ["origin", "operator", "status", "pattern", *metrics]
    rows = summaries.completed(family(summaries.folder, architecture_id), [*told_of_each, *LEFT_OUT])
    by_id = {row["architecture_id"]: row for row in rows.iter_rows(named=True)}
    told = [_change(row, by_id, metrics) for row in rows.iter_rows(named=True)]
    kinds: dict[str, Any] = {"changed": pl.List(pl.String)} | {f"{name}_change": pl.Float64 for name in metrics}
    rows = rows.hstack(pl.DataFrame(told, schema=kinds))
    pairs = [column for name in metrics for column in (name, f"{name}_change")]
    return rows.select(
        "depth", "architecture_id", *KEY, "origin", "operator", "parents", "changed", "status", *pairs, "pattern"
    )


def _change(row: dict[str, Any], by_id: dict[str, dict[str, Any]], metrics: list[str]) -> dict[str, Any]:
    """What one differs in from its first parent; nothing where that is not known."""
    parent = by_id.get(row["parents"][0]) if row["parents"] else None
    if parent is None:
        return {"changed": None, **{f"{name}_change": None for name in metrics}}
    both = {name: (row[name], parent[name]) for name in metrics}
    return {
        "changed": changes(parent["architecture"], row["architecture"]),
        **{f"{name}_change": None if None in pair else float(pair[0] - pair[1]) for name, pair in both.items()},
    }
