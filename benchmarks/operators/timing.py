"""Taking turns and summing up. Pure functions: no torch."""

from __future__ import annotations

import gc
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

_T = TypeVar("_T")


def interleaved(sides: Mapping[str, Callable[[], _T]], rounds: int) -> dict[str, list[_T]]:
    """What each side returns in each round; sides take turns, and the order turns around each round.

    A first round, not counted, warms up: kernels are built, memory is asked for.
    """
    found: dict[str, list[_T]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name in list(sides)[:: 1 if number % 2 else -1]:
            gc.collect()
            result = sides[name]()
            if number:
                found[name].append(result)
    return found


def timed(run: Callable[[], object], least_seconds: float = 0.0) -> Callable[[], float]:
    """Seconds of one `run`, as the mean of as many in a row as take `least_seconds` (told by a first, untimed one)."""
    repeats = 0

    def seconds() -> float:
        nonlocal repeats
        start = time.perf_counter()
        for _ in range(max(repeats, 1)):
            run()
        mean = (time.perf_counter() - start) / max(repeats, 1)
        repeats = repeats or max(1, math.ceil(least_seconds / mean))
        return mean

    return seconds


def spread(values: Sequence[float], digits: int = 4) -> dict[str, float]:
    """Median and range, to so many significant digits."""
    found = {"median": statistics.median(values), "min": min(values), "max": max(values)}
    return {name: float(f"{value:.{digits}g}") for name, value in found.items()}


def ratios(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Median and range of the rounds' own ratios: the two sides of a round saw the same machine."""
    return spread([a / b for a, b in zip(above, below, strict=True)], digits=3)


def verdict(ratio: float, promise: float | None, *, at_most: bool = False) -> dict[str, Any]:
    """The promise beside a figure, and whether it is kept; None without a promise."""
    if promise is None:
        return {"promise": None, "kept": None}
    return {"promise": promise, "kept": ratio <= promise if at_most else ratio >= promise}


def speeds(seconds: Mapping[str, Sequence[float]], tokens: int, promise: float | None) -> dict[str, Any]:
    """Tokens a second of both sides, and ours over theirs."""
    ours, theirs = (seconds[side] for side in ("harmony", "transformers"))
    ratio = ratios(theirs, ours)
    return {
        "tokens_per_second": {side: spread([tokens / one for one in each]) for side, each in seconds.items()},
        "ratio": ratio,
        **verdict(ratio["median"], promise),
    }


def exponent(lengths: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log seconds over log length by least squares: 1 is linear, 2 is quadratic.

    Raises:
        ValueError: fewer than two lengths, or unequal numbers of both.
    """
    if len(lengths) < 2 or len(lengths) != len(seconds):
        raise ValueError(f"{len(lengths)} lengths and {len(seconds)} times; use two or more of each, equally many")
    return statistics.linear_regression(
        [math.log(length) for length in lengths], [math.log(second) for second in seconds]
    ).slope


def exponents(lengths: Sequence[int], rounds: Mapping[int, Sequence[float]]) -> dict[str, float]:
    """The exponent of the medians over rounds, and the range of the rounds' own exponents.

    Args:
        lengths: the lengths to fit.
        rounds: by length, the seconds of each round.
    """
    medians = [statistics.median(rounds[length]) for length in lengths]
    own = [exponent(lengths, times) for times in zip(*(rounds[length] for length in lengths), strict=True)]
    found = {"fitted": exponent(lengths, medians), "min": min(own), "max": max(own)}
    return {name: round(value, 3) for name, value in found.items()}
