"""Whether small models say which large ones are better: rank correlation with its interval."""

from __future__ import annotations

import warnings
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
    pairs_N2 = np.array([small, large]).T
    drawn_RN = np.random.default_rng(0).choice(len(pairs_N2), size=(resamples, len(pairs_N2)))
    with warnings.catch_warnings(category=stats.ConstantInputWarning, action="ignore"):
        found_R = [float(stats.spearmanr(*pairs_N2[one_N].T).statistic) for one_N in drawn_RN]
        value = float(stats.spearmanr(small, large).statistic)
    low, high = np.nanquantile(found_R, (0.025, 0.975))
    return RankCorrelation(value, float(low), float(high))
