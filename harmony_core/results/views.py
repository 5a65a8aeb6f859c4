"""Questions that people ask of a search: who is best, what was trained again, where does one come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import moocore
import polars as pl

from harmony_core.errors import UserError
from harmony_core.metrics import metric, sign
from harmony_core.results.candidates import measured
from harmony_core.store import queries
from harmony_core.store.evaluators import KEY, best_runs
from harmony_core.store.folder import SearchFolder
from harmony_core.store.manifest import read_manifest
from harmony_core.store.queries import Search


def leaderboard(search: Search) -> pl.LazyFrame:
    """All candidates that are ok, lowest validation bits per byte first.

    Columns: `schemas.POPULATION`, status, val_loss, val_bits_per_byte, rate, learning_rate, replicates,
    latency_seconds (the objective's mode), latency_marked and `violation`, the sum of the relative excesses over the
    objectives' targets.
    """
    folder = SearchFolder.find(search)
    config = read_manifest(folder.manifest).config
    objectives = config["search"]["objectives"]
    candidates = measured(queries.population(folder), queries.viewed(folder, config), config)
    targets = {objective["name"]: objective["target"] for objective in objectives}
    # The evaluator may be uninstalled; the selections have these metrics too.
    known = candidates.collect_schema().names()
    if unmeasured := [name for name in targets if name not in known]:
        candidates = candidates.join(_selected(folder, unmeasured), on=KEY, how="left", maintain_order="left")
    ranked = candidates.filter(pl.col("status") == "ok").with_columns(violation=violation(targets))
    return ranked.sort("val_bits_per_byte", "generation", "candidate")


def _selected(folder: SearchFolder, names: Sequence[str]) -> pl.LazyFrame:
    """Metrics of candidates as they were selected by; null where that was not done yet."""
    rows = queries.selection(folder).collect()
    rows = rows.with_columns(pl.lit(None, pl.Float64).alias(name) for name in names if name not in rows.columns)
    return rows.select("candidate", *names, generation="birth_generation").unique(KEY, keep="first").lazy()


def violation(targets: Mapping[str, float | None]) -> pl.Expr:
    """The sum of the shares by which a row misses the targets (`Metric.excess`); None is no target.

    Args:
        targets: by name of the objective, which is a column.
    """
    excess = [
        metric(name).shortfall(pl.col(name), target).clip(lower_bound=0)
        for name, target in targets.items()
        if target is not None
    ]
    return pl.sum_horizontal(pl.lit(0.0), *excess)


def front(candidates: pl.DataFrame, objectives: Sequence[str], constrained: bool) -> pl.DataFrame:
    """The non-dominated rows among candidates that are ok; equal rows are all on it.

    Args:
        candidates: rows with the objectives' columns and `violation`.
        objectives: columns; less is better but in a metric that says otherwise.
        constrained: leave out candidates with a violation, unless all have one.
    """
    if constrained and (candidates["violation"] == 0).any():
        candidates = candidates.filter(pl.col("violation") == 0)
    if candidates.is_empty():
        return candidates
    values_NM = candidates.select(pl.col(objectives).cast(pl.Float64)).to_numpy() * [sign(name) for name in objectives]
    return candidates.filter(pl.Series(moocore.is_nondominated(values_NM, keep_weakly=True)))


def promoted_latency(folder: SearchFolder, mode: str) -> pl.LazyFrame:
    """What promotion measured (`schemas.LATENCY`), in one mode."""
    return queries.latency(folder, promoted=True).filter(pl.col("mode") == mode)


def promoted_results(search: Search) -> pl.LazyFrame:
    """What promotion trained, lowest mean of test bits per byte first.

    Columns: `schemas.POPULATION`, runs and failed (replicates that are ok, and not), val_bits_per_byte and
    test_bits_per_byte (means over the runs), test_min, test_max, learning_rate, tokens, latency_seconds and
    latency_marked (the objective's mode). Of several learning rates the one counts that is best on validation.
    """
    folder = SearchFolder.find(search)
    mode = read_manifest(folder.manifest).config["latency"]["objective"]
    training = queries.training(folder, promoted=True)
    replicates = training.group_by("candidate").agg(pl.col("replicate").n_unique().alias("replicates"))
    results = (
        best_runs(training)
        .group_by("candidate", maintain_order=True)
        .agg(
            pl.len().alias("runs"),
            pl.col("val_bits_per_byte", "test_bits_per_byte").mean(),
            pl.col("test_bits_per_byte").min().alias("test_min"),
            pl.col("test_bits_per_byte").max().alias("test_max"),
            pl.col("learning_rate").first(),
            pl.col("tokens").max(),
        )
    )
    results = (
        replicates.join(results, on="candidate", how="left")
        .with_columns(pl.col("runs").fill_null(0))
        .with_columns(failed=pl.col("replicates") - pl.col("runs"))
        .drop("replicates")
    )
    times = promoted_latency(folder, mode).select("candidate", "latency_seconds", latency_marked="marked")
    joined = queries.population(folder, promoted=True).join(results, on="candidate", how="left")
    joined = joined.join(times, on="candidate", how="left")
    return joined.sort("test_bits_per_byte", "candidate", nulls_last=True)


def reference_latency(search: Search) -> tuple[float, float] | None:
    """The least and the most that the reference architecture took beside the search's candidates [s].

    It is one model: what lies between the two is the machine's drift, which raw times hold and latencies, being
    relative to it, do not. In the objective's mode; None where nothing was measured.
    """
    folder = SearchFolder.find(search)
    mode = read_manifest(folder.manifest).config["latency"]["objective"]
    times = queries.latency(folder, columns=("mode", "reference_seconds_median")).filter(pl.col("mode") == mode)
    times = times.select("reference_seconds_median").drop_nulls()
    found = times.collect()["reference_seconds_median"].to_list()
    return (min(found), max(found)) if found else None


def lineage(search: Search, architecture_id: str) -> pl.LazyFrame:
    """An architecture and all its ancestors: the population's rows and `depth`, 0 for itself, 1 for parents.

    An ancestor on several paths appears once, at its least depth.

    Raises:
        UserError: the search has no such architecture.
    """
    rows = queries.population(search).sort("generation", "candidate").collect()
    # If an architecture was trained again, its first birth counts.
    rows = rows.unique("architecture_id", keep="first", maintain_order=True)
    parents = dict(rows.select("architecture_id", "parents").iter_rows())
    if architecture_id not in parents:
        raise UserError("architecture_id", architecture_id, "not in this search; take one from its leaderboard")
    depths, wave = {architecture_id: 0}, [architecture_id]
    while wave:
        found = dict.fromkeys(parent for child in wave for parent in parents[child])
        # A branch ends at a parent that has no row left, where a folder was taken away.
        wave = [parent for parent in found if parent in parents and parent not in depths]
        depth = max(depths.values()) + 1
        depths.update(dict.fromkeys(wave, depth))
    frame = pl.DataFrame({"architecture_id": list(depths), "depth": list(depths.values())})
    frame = frame.cast({"depth": pl.Int32})
    return rows.join(frame, on="architecture_id").sort("depth", "generation", "candidate").lazy()
