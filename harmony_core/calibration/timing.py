"""Runs that take turns, and what each of their parts took: processor seconds of one thread, medians over rounds."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

ROUNDS = 5
# oneDNN builds a kernel for every new number of rows of an expert.
WARM_UP_ROUNDS = 3

# It runs once, and returns the seconds of each of its parts.
Run = Callable[[], list[float]]


def timed(run: Callable[[], object]) -> Run:
    """A function as a run of one part."""

    def once() -> list[float]:
        begin = time.process_time()
        run()
        return [time.process_time() - begin]

    return once


def medians(runs: Sequence[Run]) -> list[list[float]]:
    """Medians of the parts of each run, over rounds in which all take turns; those that warm up are left out."""
    found: list[list[list[float]]] = [[] for _ in runs]
    for number in range(WARM_UP_ROUNDS + ROUNDS):
        for run, times in zip(runs, found, strict=True):
            seconds = run()
            if number >= WARM_UP_ROUNDS:
                times.append(seconds)
    return [[statistics.median(part) for part in zip(*times, strict=True)] for times in found]
