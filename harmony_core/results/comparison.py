"""Two candidates metric by metric, or two searches architecture by architecture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from harmony_core.metrics import LATENCY, LOSS, metric
from harmony_core.results.summaries import Summaries
from harmony_core.results.views import ranked
from harmony_core.store.evaluators import KEY

# What is told of both sides of an architecture that two searches have.
_BOTH = (LOSS, LATENCY)


def candidates_compared(first: Mapping[str, Any], second: Mapping[str, Any], names: list[str]) -> pl.DataFrame:
    """A row a metric: `metric`, `a`, `b`, `difference` (b - a), `ratio` (b / a; null where a is 0).

    Args:
        first: its metrics by name; one that it has not is null.
        second: those of the other.
        names: of the metrics, in order.
    """
    rows = []
    for name in names:
        a, b = first.get(name), second.get(name)
        difference = ratio = None
        if a is not None and b is not None:
            difference, ratio = b - a, b / a if a else None
        told = {"metric": name, "unit": metric(name).unit, "a": a, "b": b}
        rows.append({**told, "difference": difference, "ratio": ratio})
    kinds = {name: pl.Float64() for name in ("a", "b", "difference", "ratio")}
    return pl.DataFrame(rows, schema={"metric": pl.String(), "unit": pl.String(), **kinds}, strict=False)


def searches_compared(first: Summaries, second: Summaries) -> pl.DataFrame:
    """The architectures that two searches have both measured, largest difference of the loss first.

    Columns: architecture_id, pattern, num_active_params; of each side, `_a` and `_b`, the best val_bits_per_byte of its
    rows [bits/byte], that row's latency_seconds [s] and generation; and the differences of the first two (b - a).

    Args:
        first: side a.
        second: side b.
    """
    sides = [_best_of_each(one) for one in (first, second)]
    joined = sides[0].join(sides[1].drop("pattern", "num_active_params"), on="architecture_id", suffix="_b")
    joined = joined.rename({name: f"{name}_a" for name in (*_BOTH, "generation")})
    differences = [(pl.col(f"{name}_b") - pl.col(f"{name}_a")).alias(f"{name}_difference") for name in _BOTH]
    pairs = [f"{name}_{side}" for name in (*_BOTH, "generation") for side in ("a", "b")]
    told = joined.with_columns(differences).select(
        "architecture_id", "pattern", "num_active_params", *pairs, *(f"{name}_difference" for name in _BOTH)
    )
    return told.sort(pl.col(f"{LOSS}_difference").abs(), "architecture_id", descending=[True, False], nulls_last=True)


def _best_of_each(summaries: Summaries) -> pl.DataFrame:
    """Each architecture's row with the lowest loss."""
    rows = ranked(summaries, [*KEY, "architecture_id", "pattern", "num_active_params", LATENCY])
    rows = rows.unique("architecture_id", keep="first", maintain_order=True)
    return rows.select("architecture_id", "pattern", "num_active_params", *_BOTH, "generation")
