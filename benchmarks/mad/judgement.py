"""What rows say: how far scores spread, how alike two orders are, and what is left once others are taken away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats

RESAMPLES = 2000

Table = dict[str, dict[str, float]]


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """By architecture's label the score of each task, their mean as `mad_score`.

    Those that failed at a task, or have not been trained on all that others have, are left out.
    """
    found: Table = {}
    for row in rows:
        found.setdefault(row["label"], {})[row["task"]] = row["score"]
    tasks = {row["task"] for row in rows if row["score"] is not None}
    whole = {label: one for label, one in found.items() if tasks == one.keys() and None not in one.values()}
    return {label: {**scores, "mad_score": float(np.mean(list(scores.values())))} for label, scores in whole.items()}


def spreads(found: Table) -> dict[str, float]:
    """The standard deviation over architectures of each score, in points (hundredths)."""
    names = next(iter(found.values()))
    return {name: 100 * float(np.std([scores[name] for scores in found.values()], ddof=1)) for name in names}


def interval(statistic: Callable[[np.ndarray], float], rows_NK: np.ndarray) -> dict[str, float]:
    """A statistic of rows with its 95% interval by percentile bootstrap; resamples without a value are left out.

    Args:
        statistic: of a table [N, K].
        rows_NK: a row an architecture.
    """
    rng = np.random.default_rng(0)
    drawn = [statistic(rows_NK[rng.integers(len(rows_NK), size=len(rows_NK))]) for _ in range(RESAMPLES)]
    low, high = np.nanquantile(drawn, (0.025, 0.975))
    return {"value": round(statistic(rows_NK), 3), "low": round(float(low), 3), "high": round(float(high), 3)}


def tau(rows_N2: np.ndarray) -> float:
    """Kendall's tau-b of two columns."""
    return float(stats.kendalltau(rows_N2[:, 0], rows_N2[:, 1]).statistic)


def spearman(rows_N2: np.ndarray) -> float:
    """Spearman's rank correlation of two columns."""
    return float(stats.spearmanr(rows_N2[:, 0], rows_N2[:, 1]).statistic)


def partial_spearman(rows_NK: np.ndarray) -> float:
    """Rank correlation of the first two columns, the ranks of all others taken out of both by least squares."""
    ranks_NK = np.apply_along_axis(stats.rankdata, 0, rows_NK)
    others_NK = np.column_stack([np.ones(len(rows_NK)), ranks_NK[:, 2:]])
    left = ranks_NK[:, :2] - others_NK @ np.linalg.lstsq(others_NK, ranks_NK[:, :2], rcond=None)[0]
    spread = left.std(0)
    return float(np.corrcoef(left.T)[0, 1]) if spread.min() > 1e-9 else float("nan")


def agreement(first: Table, second: Table) -> dict[str, dict[str, float]]:
    """Kendall's tau-b of two tables' orders, of each score, over the architectures that both have."""
    labels = sorted(first.keys() & second.keys())
    names = first[labels[0]]
    return {
        name: interval(tau, np.array([[one[x][name] for one in (first, second)] for x in labels])) for name in names
    }
