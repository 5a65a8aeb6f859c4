"""Questions that people ask of a search: who is best, what is the trade-off, where does one come from."""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import polars as pl

from harmony_core.errors import UserError
from harmony_core.store import queries
from harmony_core.store.candidates import measured
from harmony_core.store.folder import SearchFolder
from harmony_core.store.manifest import read_manifest
from harmony_core.store.queries import Search


def leaderboard(search: Search) -> pl.LazyFrame:
    """All candidates that are ok, lowest validation bits per byte first.

    Columns: `schemas.POPULATION`, status, val_loss, val_bits_per_byte, replicates, latency_seconds (the
    objective's mode) and `violation`, the sum of the relative excesses over the objectives' targets.
    """
    folder = SearchFolder.find(search)
    config = read_manifest(folder.manifest).config
    objectives = config["search"]["objectives"]
    names = [objective["name"] for objective in objectives]
    candidates = measured(
        queries.population(folder),
        queries.training(folder),
        queries.latency(folder),
        config["latency"]["objective"],
        "latency_seconds" in names,
    )
    excess = [
        (pl.col(objective["name"]) / objective["target"] - 1).clip(lower_bound=0)
        for objective in objectives
        if objective["target"] is not None
    ]
    violation = pl.sum_horizontal(pl.lit(0.0), *excess)
    ranked = candidates.filter(pl.col("status") == "ok").with_columns(violation=violation)
    return ranked.sort("val_bits_per_byte", "generation", "candidate")


def pareto_front(search: Search) -> pl.LazyFrame:
    """The rows of `leaderboard` that no other row beats in one objective without losing in another.

    Targets are constraints here as they are in the selection: where any candidate meets them all,
    only such candidates are on the front. The algorithm `fitness` has prices instead of constraints.
    """
    folder = SearchFolder.find(search)
    settings = read_manifest(folder.manifest).config["search"]
    names = [objective["name"] for objective in settings["objectives"]]
    return front(leaderboard(folder).collect(), names, settings["algorithm"]["kind"] != "fitness").lazy()


def front(candidates: pl.DataFrame, objectives: Sequence[str], constrained: bool) -> pl.DataFrame:
    """The non-dominated rows among candidates that are ok; equal rows are all on it.

    Args:
        candidates: rows with the objectives' columns and `violation`.
        objectives: what is minimised.
        constrained: leave out candidates with a violation, unless all have one.
    """
    if constrained and (candidates["violation"] == 0).any():
        candidates = candidates.filter(pl.col("violation") == 0)
    if candidates.is_empty():
        return candidates
    values_NM = candidates.select(pl.col(objectives).cast(pl.Float64)).to_numpy()
    return candidates.filter(pl.Series(moocore.is_nondominated(values_NM, keep_weakly=True)))


def promoted_results(search: Search) -> pl.LazyFrame:
    """What promotion trained, lowest mean of test bits per byte first.

    Columns: `schemas.POPULATION`, runs and failed (replicates that are ok, and not), val_bits_per_byte and
    test_bits_per_byte (means over the runs), test_min, test_max, tokens, latency_seconds (the objective's mode).
    """
    folder = SearchFolder.find(search)
    mode = read_manifest(folder.manifest).config["latency"]["objective"]
    ok = pl.col("status") == "ok"
    results = (
        queries.training(folder, promoted=True)
        .sort("candidate", "replicate")
        .group_by("candidate", maintain_order=True)
        .agg(
            ok.sum().alias("runs"),
            (~ok).sum().alias("failed"),
            pl.col("val_bits_per_byte", "test_bits_per_byte").filter(ok).mean(),
            pl.col("test_bits_per_byte").filter(ok).min().alias("test_min"),
            pl.col("test_bits_per_byte").filter(ok).max().alias("test_max"),
            pl.col("tokens").max(),
        )
    )
    times = queries.latency(folder, promoted=True).filter(pl.col("mode") == mode)
    times = times.select("candidate", pl.col("seconds_median").alias("latency_seconds"))
    joined = queries.population(folder, promoted=True).join(results, on="candidate", how="left")
    joined = joined.join(times, on="candidate", how="left")
    return joined.sort("test_bits_per_byte", "candidate", nulls_last=True)


def reference_latency(search: Search) -> tuple[float, float] | None:
    """The least and the most that the reference architecture took beside the search's candidates [s].

    It is one model: what lies between the two is the machine's drift, by which latencies measured at different
    times may differ as well. In the objective's mode; None where nothing was measured.
    """
    folder = SearchFolder.find(search)
    mode = read_manifest(folder.manifest).config["latency"]["objective"]
    times = queries.latency(folder).filter(pl.col("mode") == mode).select("reference_seconds_median").drop_nulls()
    found = times.collect()["reference_seconds_median"].to_list()
    return (min(found), max(found)) if found else None


def lineage(search: Search, architecture_id: str) -> pl.LazyFrame:
    """An architecture and all its ancestors: the population's rows and `depth`, 0 for itself, 1 for parents.

    An ancestor on several paths appears once, at its least depth.

    Raises:
        UserError: the search has no such architecture.
    """
    rows = queries.population(search).sort("generation", "candidate").collect()
    # Its first birth counts, should an architecture have been trained again.
    rows = rows.unique("architecture_id", keep="first", maintain_order=True)
    parents = dict(rows.select("architecture_id", "parents").iter_rows())
    if architecture_id not in parents:
        raise UserError("architecture_id", architecture_id, "not in this search; take one from its leaderboard")
    depths, wave = {architecture_id: 0}, [architecture_id]
    while wave:
        found = dict.fromkeys(parent for child in wave for parent in parents[child])
        # A parent of which no row is left (a folder taken away) ends its branch.
        wave = [parent for parent in found if parent in parents and parent not in depths]
        depth = max(depths.values()) + 1
        depths.update(dict.fromkeys(wave, depth))
    frame = pl.DataFrame({"architecture_id": list(depths), "depth": list(depths.values())})
    frame = frame.cast({"depth": pl.Int32})
    return rows.join(frame, on="architecture_id").sort("depth", "generation", "candidate").lazy()
