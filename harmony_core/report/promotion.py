"""What promotion says on the test split: means, intervals, and whether the front beats the baselines."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from scipy.special import stdtrit

from harmony_core.results import promoted_results
from harmony_core.store import SearchFolder, best_runs, training

# Those that promotion grew to another size say so in their operator (`evaluation.promote`).
OWN_SIZE = ~pl.col("operator").str.contains(": ", literal=True)
# Of the standard normal distribution, for 95% between both tails.
_NORMAL = 1.96


@dataclass(frozen=True)
class Verdict:
    """The best member of the front beside the best baseline, trained alike and paired by their seeds.

    Args:
        member: row of the front's.
        baseline: row of the baseline's.
        difference: mean of the member's bits per byte minus the baseline's [bits/byte].
        interval: of that mean, 95%, by Student's t over the replicates; None with fewer than two.
        runs: replicates that both have.
    """

    member: dict[str, Any]
    baseline: dict[str, Any]
    difference: float
    interval: tuple[float, float] | None
    runs: int


def test_results(folder: SearchFolder) -> pl.DataFrame:
    """`promoted_results` with test_low, test_high and `interval_of`, what their spread is of.

    The interval is of the mean, 95%: by Student's t over replicates where there are two or more, else 1.96 standard
    errors of the test split's windows, which knows nothing of the seeds. Null where neither is known.
    """
    rows = promoted_results(folder).collect()
    runs = _runs(folder)
    bounds = [_interval(runs.filter(pl.col("candidate") == candidate)) for candidate in rows["candidate"]]
    schema = {"test_low": pl.Float64, "test_high": pl.Float64, "interval_of": pl.String}
    return rows.hstack(pl.DataFrame(bounds, schema=schema, orient="row"))


def verdict(folder: SearchFolder, rows: pl.DataFrame) -> Verdict | None:
    """Whether the front's best is better than the best baseline; None where one of them is not there.

    Only those of their own size are compared, which were trained on as many tokens.

    Args:
        folder: the search's.
        rows: of `test_results`.
    """
    own = rows.filter(OWN_SIZE, pl.col("test_bits_per_byte").is_not_null())
    front, baselines = (own.filter(pl.col("role") == role) for role in ("front", "baseline"))
    if front.is_empty() or baselines.is_empty():
        return None
    member, baseline = front.row(0, named=True), baselines.row(0, named=True)
    if member["tokens"] != baseline["tokens"]:
        return None
    runs = _runs(folder)
    pair = [runs.filter(pl.col("candidate") == one["candidate"]) for one in (member, baseline)]
    both = pair[0].join(pair[1], on="replicate", suffix="_baseline")
    differences = (both["test_bits_per_byte"] - both["test_bits_per_byte_baseline"]).to_list()
    if not differences:
        return None
    mean = math.fsum(differences) / len(differences)
    return Verdict(member, baseline, mean, _student(differences), len(differences))


def _runs(folder: SearchFolder) -> pl.DataFrame:
    columns = ["candidate", "replicate", "test_bits_per_byte", "test_standard_error"]
    return best_runs(training(folder, promoted=True)).select(columns).sort("candidate", "replicate").collect()


def _interval(runs: pl.DataFrame) -> tuple[float | None, float | None, str | None]:
    values = runs["test_bits_per_byte"].drop_nulls().to_list()
    bounds = _student(values)
    if bounds is not None:
        return (*bounds, "seeds")
    errors = runs["test_standard_error"].drop_nulls().to_list()
    if len(values) != 1 or not errors:
        return None, None, None
    return values[0] - _NORMAL * errors[0], values[0] + _NORMAL * errors[0], "text"


def _student(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95% interval of a mean; None of fewer than two values."""
    if len(values) < 2:
        return None
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    half = float(stdtrit(len(values) - 1, 0.975)) * math.sqrt(variance / len(values))
    return mean - half, mean + half
