"""Whether small models say which large ones are better: rank correlation with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

RESAMPLES = 10_000
_LEAST = 3


@dataclass(frozen=True)
class RankCorrelation:
    """Spearman's coefficient and its 95% interval (percentile bootstrap over the architectures)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def rank_correlation(small: Sequence[float], large: Sequence[float], resamples: int = RESAMPLES) -> RankCorrelation:
    """Spearman's between what architectures reached small and what they reached large, in the same order.

    A resample in which one side is all equal has no correlation and is left out.

    Args:
        small: a finite value for each architecture.
        large: the same.
        resamples: of the bootstrap, whose seed is fixed.

    Raises:
        ValueError: less than three pairs, or numbers of values that differ.
    """
    if len(small) != len(large) or len(small) < _LEAST:
        raise ValueError(f"{len(small)} and {len(large)} values have no rank correlation; give {_LEAST} pairs or more")
    pairs_2N = np.array([small, large], dtype=float)
    drawn_RN = np.random.default_rng(0).choice(len(small), size=(resamples, len(small)))
    low, high = np.nanquantile(_spearman(*pairs_2N[:, drawn_RN]), (0.025, 0.975))
    return RankCorrelation(float(_spearman(*pairs_2N)), float(low), float(high))


def _spearman(first_xN: np.ndarray, second_xN: np.ndarray) -> np.ndarray:
    """Spearman's along the last axis: Pearson's of ranks, equal values sharing their mean; NaN where all are equal.

    scipy's own takes one pair at a time, which for ten thousand resamples is seconds.
    """
    ranks_2xN = stats.rankdata([first_xN, second_xN], axis=-1)
    first_xN, second_xN = ranks_2xN - ranks_2xN.mean(axis=-1, keepdims=True)
    spread_x = np.sqrt((first_xN**2).sum(-1) * (second_xN**2).sum(-1))
    with np.errstate(invalid="ignore"):
        found_x: np.ndarray = (first_xN * second_xN).sum(-1) / spread_x
    return found_x
