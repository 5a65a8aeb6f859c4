"""A candidate's ancestors, what each step changed, and what came of it."""

from __future__ import annotations

from typing import Any

import polars as pl

from harmony_core.results.changes import changes
from harmony_core.store import POPULATION, SearchFolder
from harmony_core.store.queries import scan
from harmony_core.ui.catalogue import Snapshot
from harmony_core.ui.generation_rows import Columns

MOST_ANCESTORS = 40
_TOLD = (
    "generation",
    "candidate",
    "architecture_id",
    "pattern",
    "origin",
    "operator",
    "parents",
    "name",
    "architecture",
)


def lineage(folder: SearchFolder, snapshot: Snapshot, columns: Columns, row: dict[str, Any]) -> dict[str, Any]:
    """The candidate and its ancestors, nearest first, each with its metrics and what it was bred from.

    Args:
        folder: the search's.
        snapshot: its candidates.
        columns: what each of them has.
        row: the candidate's row of the population.

    Returns:
        `ancestors`, the candidate itself first: each with `depth`, `operator`, `parents`, `changed`, `values`;
        and `more`, whether there are ancestors that are not shown.
    """
    told: list[dict[str, Any]] = [_told(row, 0)]
    texts = {row["architecture_id"]: row["architecture"]}
    seen = {row["architecture_id"]}
    wave, depth, more = list(row["parents"]), 1, False
    while wave and not more:
        wanted = list(dict.fromkeys(parent for parent in wave if parent not in seen))
        room = MOST_ANCESTORS - len(told)
        more = len(wanted) > room
        found = _rows(folder, snapshot, wanted[:room])
        seen.update(wanted)
        told += [_told(one, depth) for one in found]
        texts |= {one["architecture_id"]: one["architecture"] for one in found}
        wave = [parent for one in found for parent in one["parents"]]
        depth += 1
    ids = [one["id"] for one in told]
    known = snapshot.rows.filter(pl.col("architecture_id").is_in(ids)).unique("architecture_id", keep="first")
    values = {one["architecture_id"]: one for one in known.iter_rows(named=True)}
    for one in told:
        mine, parent = values.get(one["id"]), texts.get(one["parents"][0]) if one["parents"] else None
        # Against the first parent, as the metrics are.
        one["changed"] = [] if parent is None else changes(parent, texts[one["id"]])
        one["status"] = None if mine is None else mine["status"]
        one["family"] = None if mine is None else mine["family"]
        one["values"] = {} if mine is None else {name: mine[name] for name in columns.metrics}
    return {"ancestors": told, "more": more}


def _rows(folder: SearchFolder, snapshot: Snapshot, ids: list[str]) -> list[dict[str, Any]]:
    """Rows of the populations, each architecture's first; none of one that has no row left."""
    born = snapshot.rows.filter(pl.col("architecture_id").is_in(ids)).unique("architecture_id", keep="first")
    generations = sorted(set(born["generation"].to_list()))
    wanted = pl.col("architecture_id").is_in(ids)
    paths = [folder.population(generation) for generation in generations]
    rows = scan(paths, POPULATION, _TOLD, keep=wanted).collect().unique("architecture_id", keep="first")
    by_id = {row["architecture_id"]: row for row in rows.iter_rows(named=True)}
    return [by_id[one] for one in ids if one in by_id]


def _told(row: dict[str, Any], depth: int) -> dict[str, Any]:
    names = ("generation", "candidate", "pattern", "origin", "operator", "parents", "name")
    return {"id": row["architecture_id"], "depth": depth, **{name: row[name] for name in names}}
