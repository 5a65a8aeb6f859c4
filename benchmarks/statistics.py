"""What several runs of two models say of which is better: exact tests, corrected for how many were made."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import mannwhitneyu


def rank_sum(first: Sequence[float], second: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's rank-sum test, from all arrangements of the ranks and not from a normal curve."""
    return float(mannwhitneyu(first, second, alternative="two-sided", method="exact").pvalue)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The p-values corrected for their number (Holm 1979): below 0.05 the family errs in at most 5% of cases."""
    corrected, running, left = {}, 0.0, len(p_values)
    for name, value in sorted(p_values.items(), key=lambda item: item[1]):
        running = max(running, min(1.0, left * value))
        corrected[name] = running
        left -= 1
    return {name: corrected[name] for name in p_values}


def shift(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> tuple[float, float, float]:
    """By how much `first` lies above `second`: (Hodges and Lehmann's median of all differences, and its interval).

    The interval holds the differences that the rank-sum test does not refuse (Hollander, Wolfe and Chicken 2014,
    section 4.3), so it is exact and agrees with `rank_sum`; its confidence is at least what is asked for.
    """
    differences = np.sort(np.subtract.outer(np.asarray(first), np.asarray(second)).ravel())
    counts = _arrangements(len(first), len(second))
    # The least value of the statistic that the test does not refuse at this end.
    end = int(np.searchsorted(np.cumsum(counts) / counts.sum(), (1 - confidence) / 2, side="right"))
    if end == 0:
        raise ValueError(f"{len(first)} and {len(second)} runs give no interval of {confidence:.0%}; use more")
    return float(np.median(differences)), float(differences[end - 1]), float(differences[-end])


def _arrangements(first: int, second: int) -> np.ndarray:
    """In how many ways the Mann-Whitney statistic takes each value from 0 to first x second."""
    counts = np.zeros(first * second + 1)
    for chosen in itertools.combinations(range(first + second), first):
        counts[sum(chosen) - first * (first - 1) // 2] += 1
    return counts
