"""Training: a row for each run of a candidate, and its curve beside it."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from harmony_core.store import schemas
from harmony_core.store.evaluators.registry import register
from harmony_core.store.evaluators.table import KEY, EvaluatorTable, Row, Settings


class TrainingTable(EvaluatorTable):
    """Of a candidate's learning rates the one with the lowest mean of validation bits per byte counts.

    Of a training with rungs the last one's row counts, whatever the earlier ones say.

    A candidate's status is that of its first replicate that failed at every rate. Losses are null unless all replicates
    of a rate are ok: a mean over the lucky ones would flatter.
    """

    name = "training"
    schema = schemas.TRAINING
    beside: ClassVar = {"curves": schemas.CURVES}
    metrics = ("val_bits_per_byte", "val_loss")
    seconds = ("start_seconds", "seconds", "eval_seconds")

    @property
    def columns(self) -> tuple[str, ...]:
        """What `by_candidate` and `failures` read."""
        return (*super().columns, "replicate", "rate", "rung", "attempt", "learning_rate")

    def by_candidate(self, rows: pl.LazyFrame, settings: Settings) -> pl.LazyFrame:
        """Status, val_loss [nats/token], val_bits_per_byte, rate, learning_rate and how many replicates there are."""
        return _trained(rows)

    def failures(self, rows: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of candidates without a result: one that failed at some learning rates only has one."""
        return super().failures(_final(rows).join(best_runs(rows).select(KEY), on=KEY, how="anti"))

    def counts(self, row: Row, settings: Settings) -> bool:
        """Whether it is of the last rung."""
        return bool(row.get("rung", 0) == len(settings["recipe"].get("rungs") or ()))


def best_runs(training: pl.LazyFrame) -> pl.LazyFrame:
    """Rows that are ok of each candidate's best learning rate, by candidate and replicate."""
    best = _trained(training).select(*KEY, "rate")
    rows = _final(training).filter(pl.col("status") == "ok")
    return rows.join(best, on=[*KEY, "rate"], how="semi", nulls_equal=True).sort(*KEY, "replicate")


def _final(training: pl.LazyFrame) -> pl.LazyFrame:
    """One row a run, that of its last rung."""
    # A workflow writes one row for each. Where people put files together there can be several, and then the order of
    # the rows must not matter.
    return training.sort("attempt", "rung", "shard", descending=[True, True, False]).unique(
        [*KEY, "replicate", "rate"], keep="first", maintain_order=True
    )


def _trained(training: pl.LazyFrame) -> pl.LazyFrame:
    """One row a candidate: status, and means over its replicates at the learning rate that suits it best."""
    ok = (pl.col("status") == "ok").all()
    status_R = pl.col("status").sort_by("replicate")
    failed = status_R.filter(status_R != "ok").first()
    # The sum goes in the order of replicates, so that a mean is the same float whatever order workers wrote in.
    means = [
        pl.when(ok).then(pl.col(name).sort_by("replicate").mean()).alias(name)
        for name in ("val_loss", "val_bits_per_byte")
    ]
    status = pl.when(ok).then(pl.lit("ok")).otherwise(failed).alias("status")
    by_rate = (
        _final(training)
        .group_by(*KEY, "rate")
        .agg(status, *means, pl.col("learning_rate").first(), replicates=pl.len())
    )
    # A candidate has failed if it failed at every rate.
    best_first = by_rate.sort("val_bits_per_byte", "rate", nulls_last=True)
    return best_first.unique(KEY, keep="first", maintain_order=True)


TRAINING_TABLE = register(TrainingTable())
