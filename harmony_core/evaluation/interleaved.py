"""What two calls cost relative to each other, from times taken in turns: reference, candidate, reference, ...

Load strikes neighbours alike, and each call of the candidate stands between two of the reference: a ratio is told from
neighbours, never from calls that lie apart. Load also strikes single calls, so the highest and lowest ratios say
nothing; the others are averaged, which takes fewer calls than a median to be as sure.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

# A measurement is repeated while its reference moves by more than the first, at most as often as the second says.
STEADY, MOST_MEASUREMENTS = 0.10, 3
# This share of the ratios is left out at each end.
_TRIMMED = 0.25


@dataclasses.dataclass(frozen=True)
class Measurement:
    """Times taken in turns, one of the reference before each of the candidate and one after the last [s].

    Args:
        times: of the candidate's calls, N of them.
        reference_times: of the reference's, N + 1.
    """

    times: Sequence[float]
    reference_times: Sequence[float]

    @property
    def movement(self) -> float:
        """By how much the reference's slower half, first or last, is above the other; 0.1 is a tenth.

        Of each half the median counts: a call that was interrupted is no movement.
        """
        half = len(self.reference_times) // 2
        first, last = np.median(self.reference_times[:half]), np.median(self.reference_times[-half:])
        return float(max(first, last) / min(first, last) - 1)

    @property
    def log_ratios(self) -> list[float]:
        """Of each call of the candidate, over the geometric mean of the reference's before and after it."""
        reference = np.log(np.asarray(self.reference_times))
        ratios: list[float] = (np.log(np.asarray(self.times)) - (reference[:-1] + reference[1:]) / 2).tolist()
        return ratios


def relative_time(measurements: Sequence[Measurement]) -> float:
    """The candidate's time over the reference's: geometric midmean (Tukey) of the ratios of neighbours.

    Measurements that were repeated count together: where the reference moved, its neighbours moved with it, and more
    pairs say more than the steadiest ones alone.
    """
    ratios = sorted(ratio for one in measurements for ratio in one.log_ratios)
    cut = int(_TRIMMED * len(ratios))
    return math.exp(float(np.mean(ratios[cut : len(ratios) - cut])))
