"""Summaries of shares over seeds, and the bootstrap interval of a median difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

RESAMPLES, CONFIDENCE = 10_000, 0.95


def spread(shares: Sequence[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, median, high = (round(float(value), 4) for value in np.quantile(shares, (0.25, 0.5, 0.75)))
    return {"median": median, "low_quartile": low, "high_quartile": high}


def difference(ours: Sequence[float], theirs: Sequence[float]) -> dict[str, float]:
    """Median of the differences of pairs, with both ends of its 95% interval (percentile bootstrap over the pairs)."""
    pairs_N = np.subtract(ours, theirs)
    rng = np.random.default_rng(0)
    medians_R = np.median(rng.choice(pairs_N, size=(RESAMPLES, len(pairs_N))), axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(medians_R, (tail, 1 - tail))
    return {
        name: round(float(value), 4) for name, value in (("median", np.median(pairs_N)), ("low", low), ("high", high))
    }
