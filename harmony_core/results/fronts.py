"""What the trade-off is, by the search's own objectives and its algorithm's word on targets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from harmony_core.evolution.algorithms import read_algorithm
from harmony_core.results.views import front, leaderboard, promoted_latency
from harmony_core.store import SearchFolder, read_manifest
from harmony_core.store.queries import Search


def constrained(settings: Mapping[str, Any]) -> bool:
    """Whether a recorded section `search` takes targets as constraints, as its algorithm says."""
    return read_algorithm(settings["algorithm"]).targets_are_constraints


def pareto_front(search: Search) -> pl.LazyFrame:
    """The rows of `leaderboard` that no other row beats in one objective without losing in another.

    Targets are constraints here as they are in the selection: where any candidate meets them all,
    only such candidates are on the front. To an algorithm such as `fitness` they are no constraints.
    """
    folder = SearchFolder.find(search)
    settings = read_manifest(folder.manifest).config["search"]
    names = [objective["name"] for objective in settings["objectives"]]
    return front(leaderboard(folder).collect(), names, constrained(settings)).lazy()


def front_again(search: Search) -> pl.LazyFrame:
    """`pareto_front` beside what promotion measured again, the whole front in turns.

    Two more columns: latency_again_seconds, and `confirmed`, whether the row is on the front of all these with the
    latencies measured again. Both are null where it was not measured again, or failed.
    """
    folder = SearchFolder.find(search)
    config = read_manifest(folder.manifest).config
    names = [objective["name"] for objective in config["search"]["objectives"]]
    times = promoted_latency(folder, config["latency"]["objective"]).filter(pl.col("source") == "measured")
    again = times.unique("architecture_id", keep="first")
    again = again.select("architecture_id", latency_again_seconds="latency_seconds")
    rows = pareto_front(folder).join(again, on="architecture_id", how="left", maintain_order="left").collect()
    measured_again = rows.filter(pl.col("latency_again_seconds").is_not_null())
    measured_again = measured_again.with_columns(latency_seconds="latency_again_seconds")
    keys = ["generation", "candidate"]
    kept = front(measured_again, names, constrained=False).select(*keys, confirmed=pl.lit(True))
    confirmed = pl.when(pl.col("latency_again_seconds").is_not_null()).then(pl.col("confirmed").fill_null(False))
    return rows.join(kept, on=keys, how="left", maintain_order="left").with_columns(confirmed=confirmed).lazy()
