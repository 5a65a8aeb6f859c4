"""Power laws y = k x^c, and how well a bootstrap over the runs behind them knows their exponents."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

# An interval that is wider says nothing: published exponents of N* lie between 0.4 and 0.75.
WIDEST = 0.3
CONFIDENCE = 0.95
DRAWS = 2000

Key = TypeVar("Key")
Run = TypeVar("Run")


@dataclass(frozen=True)
class Exponent:
    """The exponent of a power law.

    Args:
        value: from all runs; None where they do not determine it.
        low: end of its 95% interval; minus infinity where too many draws do not determine it.
        high: the other end.
        failed: share of the draws that did not determine it.
    """

    value: float | None
    low: float
    high: float
    failed: float

    @property
    def identified(self) -> bool:
        """Whether the interval is narrow enough to mean anything."""
        return self.value is not None and self.high - self.low <= WIDEST

    def __str__(self) -> str:
        interval = f"{self.low:.3f} to {self.high:.3f}"
        if self.identified:
            return f"{self.value:.3f} ({interval})"
        if math.isinf(self.high - self.low):
            return f"not identified ({self.failed:.0%} of the draws do not determine it)"
        return f"not identified ({interval})"


def exponent(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The least-squares slope of log y over log x; None with less than two different x."""
    if len(set(x)) < 2:
        return None
    logs_N, logs_of_y_N = np.log(x), np.log(y)
    centred_N = logs_N - logs_N.mean()
    return float(centred_N @ logs_of_y_N / (centred_N @ centred_N))


def bootstrap(
    strata: Sequence[Sequence[Run]],
    statistics: Callable[[list[list[Run]]], Mapping[Key, float | None]],
    rng: np.random.Generator,
    draws: int = DRAWS,
    usable: Callable[[list[Run]], bool] = bool,
) -> dict[Key, Exponent]:
    """Exponents with percentile intervals, from runs that are drawn again with replacement within their strata.

    A draw that does not determine an exponent could have given any, so it counts half at either end: where more than
    one in twenty do, the interval is infinite.

    Args:
        strata: the runs, such as those of one budget; a draw has as many of each.
        statistics: exponents by name from the drawn runs, None where they are not determined.
        rng: draws.
        draws: how many.
        usable: whether what was drawn of a stratum can be fitted; else it is drawn anew, if all runs of it can be.
    """
    whole = statistics([list(one) for one in strata])
    found: dict[Key, list[float | None]] = {name: [] for name in whole}
    for _ in range(draws):
        drawn = [_drawn(one, rng, usable) for one in strata]
        told = statistics(drawn)
        for name, values in found.items():
            values.append(told.get(name))
    return {name: _interval(whole[name], values) for name, values in found.items()}


def _drawn(runs: Sequence[Run], rng: np.random.Generator, usable: Callable[[list[Run]], bool]) -> list[Run]:
    while usable(list(runs)):
        drawn = [runs[index] for index in rng.integers(len(runs), size=len(runs))]
        if usable(drawn):
            return drawn
    return list(runs)


def quantiles(values: Iterable[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The ends of a percentile interval; infinite values may be among them."""
    ordered: NDArray[np.float64] = np.sort(np.asarray(list(values), dtype=np.float64))
    ends = ((1 - confidence) / 2, (1 + confidence) / 2)
    # Interpolation between an infinite and a finite value has no meaning, so the nearest draws are taken.
    low, high = (
        ordered[index] for index in (math.floor(ends[0] * len(ordered)), math.ceil(ends[1] * len(ordered)) - 1)
    )
    return float(low), float(high)


def _interval(value: float | None, drawn: Sequence[float | None]) -> Exponent:
    known = [one for one in drawn if one is not None]
    failed = len(drawn) - len(known)
    ends = [(-1) ** index * math.inf for index in range(failed)]
    low, high = quantiles([*known, *ends]) if drawn else (-math.inf, math.inf)
    return Exponent(value, low, high, failed / len(drawn) if drawn else 0.0)
