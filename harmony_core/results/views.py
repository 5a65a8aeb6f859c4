"""Questions that people ask of a search: who is best, what was trained again, where does one come from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl

from harmony_core.errors import UserError
from harmony_core.metrics import LOSS, metric, sign
from harmony_core.results.summaries import LEFT_OUT, Summaries
from harmony_core.store import queries
from harmony_core.store.evaluators import KEY, best_runs
from harmony_core.store.folder import SearchFolder
from harmony_core.store.manifest import read_manifest
from harmony_core.store.queries import Search
from harmony_core.store.schemas import POPULATION


def leaderboard(search: Search) -> pl.LazyFrame:
    """All candidates that are ok, lowest validation bits per byte first.

    Columns: `schemas.POPULATION`, status, val_loss, val_bits_per_byte, rate, learning_rate, replicates,
    latency_seconds (the objective's mode), latency_marked and `violation`, the sum of the relative excesses over the
    objectives' targets.
    """
    summaries = Summaries(search)
    rows = ranked(summaries, summaries.schema.names())
    rows = summaries.completed(rows, LEFT_OUT)
    first = [name for name in POPULATION.names if name in rows.columns]
    return rows.select(*first, pl.exclude(first)).lazy()


def ranked(summaries: Summaries, columns: Sequence[str]) -> pl.DataFrame:
    """All candidates that are ok, lowest validation bits per byte first; else as `ended_well`."""
    return ended_well(summaries, columns).sort(LOSS, *KEY)


def ended_well(summaries: Summaries, columns: Sequence[str]) -> pl.DataFrame:
    """All candidates that are ok, by generation and candidate, and `violation`; more than these columns.

    Args:
        summaries: the search's.
        columns: of `Summaries.schema`, those that are read; `Summaries.completed` adds others.
    """
    targets = {one["name"]: one["target"] for one in summaries.config["search"]["objectives"]}
    bounded = [name for name, target in targets.items() if target is not None]
    rows = summaries.candidates([*KEY, "status", LOSS, *bounded, *columns])
    return rows.filter(pl.col("status") == "ok").with_columns(violation=violation(targets))


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
    candidates = candidates.filter(~_beaten_at_once(candidates, objectives))
    # It takes a tenth of a second to import, and the leaderboard needs no front.
    import moocore

    values_NM = candidates.select(pl.col(objectives).cast(pl.Float64)).to_numpy() * [sign(name) for name in objectives]
    return candidates.filter(pl.Series(moocore.is_nondominated(values_NM, keep_weakly=True)))


def _beaten_at_once(candidates: pl.DataFrame, objectives: Sequence[str]) -> pl.Series:
    """Rows that one of a few good ones dominates: nearly all of a million, at the cost of a few comparisons each."""
    signed = candidates.select((pl.col(name).cast(pl.Float64) * sign(name)).alias(name) for name in objectives)
    ranks = signed.select(pl.col(name) / pl.col(name).std().clip(lower_bound=1e-300) for name in objectives)
    beaten = pl.lit(False)
    # The best sum of all, and of all with each objective counted more: points of the front all over it.
    for heavy in (None, *objectives):
        weights = {name: 8.0 if name == heavy else 1.0 for name in objectives}
        place = ranks.select(pl.sum_horizontal(pl.col(name) * weight for name, weight in weights.items()))
        best = place.to_series().arg_min()
        if best is None:
            continue
        point = signed.row(best, named=True)
        no_better = pl.all_horizontal(pl.col(name) >= point[name] for name in objectives)
        beaten = beaten | (no_better & pl.any_horizontal(pl.col(name) > point[name] for name in objectives))
    return signed.select(beaten.fill_null(False).alias("beaten"))["beaten"]


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
    bounds = Summaries(search).tally().reference_seconds
    return (bounds[0], bounds[1]) if bounds else None


def lineage(search: Search, architecture_id: str) -> pl.LazyFrame:
    """An architecture and all its ancestors: the population's rows and `depth`, 0 for itself, 1 for parents.

    An ancestor on several paths appears once, at its least depth.

    Raises:
        UserError: the search has no such architecture.
    """
    folder = SearchFolder.find(search)
    members = family(folder, architecture_id)
    # Of a large search these are a few rows of many.
    frames = [
        queries.scan([folder.population(number)], POPULATION).join(members.lazy(), on=[*KEY, "architecture_id"])
        for number in sorted(members["generation"].unique())
    ]
    return pl.concat(frames, how="diagonal").sort("depth", *KEY)


def family(folder: SearchFolder, architecture_id: str) -> pl.DataFrame:
    """Who an architecture and its ancestors are: generation, candidate, architecture_id and depth, by depth.

    Args:
        folder: the search's.
        architecture_id: whose.

    Raises:
        UserError: the search has no such architecture.
    """
    born = queries.population(folder, columns=[*KEY, "architecture_id", "parents"]).collect()
    found: list[pl.DataFrame] = []
    wave, known = [architecture_id], {architecture_id}
    while wave:
        rows = born.filter(pl.col("architecture_id").is_in(wave)).sort(KEY)
        # If an architecture was trained again, its first birth counts.
        rows = rows.unique("architecture_id", keep="first", maintain_order=True)
        if rows.is_empty() and not found:
            raise UserError("architecture_id", architecture_id, "not in this search; take one from its leaderboard")
        found.append(rows.drop("parents").with_columns(depth=pl.lit(len(found), pl.Int32)))
        # A branch ends at a parent that has no row left, where a folder was taken away.
        wave = [one for one in dict.fromkeys(rows["parents"].explode().drop_nulls()) if one not in known]
        known.update(wave)
    return pl.concat(found)
