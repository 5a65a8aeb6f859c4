"""Candidates with what was measured of them: one row each, failures included."""

from __future__ import annotations

import polars as pl

KEY = ["generation", "candidate"]


def measured(
    population: pl.LazyFrame, training: pl.LazyFrame, latency: pl.LazyFrame, mode: str, needs_latency: bool
) -> pl.LazyFrame:
    """Joins a population with its mean loss over replicates and its latency in one mode.

    A candidate's status is that of its first replicate that failed, then, where latency is an
    objective, that of its benchmark; null means that a result is not there yet. Losses are null
    unless all replicates are ok: a mean over the lucky ones would flatter.

    Args:
        population: rows of `schemas.POPULATION`.
        training: rows of `schemas.TRAINING`; of several attempts at one replicate the last counts.
        latency: rows of `schemas.LATENCY`.
        mode: what `latency_seconds` is the median of: `train`, `prefill` or `decode`.
        needs_latency: whether a candidate without a latency has failed.

    Returns:
        The population's columns and status, val_loss [nats/token], val_bits_per_byte, replicates,
        latency_seconds [s]; sorted by generation and candidate.
    """
    trained = _trained(training)
    timed = (
        latency.filter(pl.col("mode") == mode)
        .sort("shard")
        .unique(KEY, keep="first", maintain_order=True)
        .select(*KEY, latency_status="status", latency_seconds="seconds_median")
    )
    joined = population.join(trained, on=KEY, how="left", nulls_equal=True)
    joined = joined.join(timed, on=KEY, how="left", nulls_equal=True)
    status = pl.col("training_status")
    if needs_latency:
        status = pl.when(status == "ok").then(pl.col("latency_status")).otherwise(status)
    return joined.with_columns(status=status).drop("training_status", "latency_status").sort(KEY)


def _trained(training: pl.LazyFrame) -> pl.LazyFrame:
    """One row a candidate: status, and means over its replicates."""
    # A workflow writes one row a candidate and replicate. Where files were put together by hand there can be
    # more; the order of the rows must not matter then either.
    final = training.sort("attempt", "shard", descending=[True, False]).unique(
        [*KEY, "replicate"], keep="first", maintain_order=True
    )
    ok = (pl.col("status") == "ok").all()
    status_R = pl.col("status").sort_by("replicate")
    failed = status_R.filter(status_R != "ok").first()
    # Sums in the order of replicates, so that a mean is the same float whatever order workers wrote in.
    means = [
        pl.when(ok).then(pl.col(name).sort_by("replicate").mean()).alias(name)
        for name in ("val_loss", "val_bits_per_byte")
    ]
    status = pl.when(ok).then(pl.lit("ok")).otherwise(failed).alias("training_status")
    return final.group_by(KEY).agg(status, *means, replicates=pl.len())
