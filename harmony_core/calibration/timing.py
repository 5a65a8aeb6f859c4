"""Runs that take turns, and what each of their parts took, medians over rounds.

On a CPU these are processor seconds of one thread; on a GPU seconds of its own clock, between events that are recorded
among the work. Where launching takes longer than computing, events are as far apart as launches: that is what it costs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import torch

CPU = torch.device("cpu")
ROUNDS = 5
# oneDNN builds a kernel for every new number of rows of an expert.
WARM_UP_ROUNDS = 3

# It runs once, and returns the seconds of each of its parts.
Run = Callable[[], list[float]]


class Marks:
    """Moments of a device's work, in their order; what lies between two of them is a part.

    Args:
        device: whose work it is. A GPU is waited for here, so that the first mark is of an idle one, and by `seconds`.
    """

    def __init__(self, device: torch.device) -> None:
        self._device, self._marks = device, list[Any]()
        wait(device)

    def mark(self) -> None:
        """Now on a CPU; on a GPU when it has done what it was given so far."""
        if self._device.type == "cpu":
            self._marks.append(time.process_time())
        else:
            event = torch.cuda.Event(enable_timing=True)
            event.record()
            self._marks.append(event)

    def seconds(self) -> list[float]:
        """From each mark to the next one [s]."""
        wait(self._device)
        if self._device.type == "cpu":
            return [after - before for before, after in pairwise(self._marks)]
        # Events tell milliseconds.
        return [before.elapsed_time(after) / 1e3 for before, after in pairwise(self._marks)]


def timed(run: Callable[[], object], device: torch.device = CPU) -> Run:
    """A function as a run of one part.

    Args:
        run: does its work on the device.
        device: that is waited for.
    """

    def once() -> list[float]:
        marks = Marks(device)
        marks.mark()
        run()
        marks.mark()
        return marks.seconds()

    return once


def wait(device: torch.device) -> None:
    """Returns when the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def medians(runs: Sequence[Run]) -> list[list[float]]:
    """Medians of the parts of each run, over rounds in which all take turns; those that warm up are left out."""
    found: list[list[list[float]]] = [[] for _ in runs]
    for number in range(WARM_UP_ROUNDS + ROUNDS):
        for run, times in zip(runs, found, strict=True):
            seconds = run()
            if number >= WARM_UP_ROUNDS:
                times.append(seconds)
    return [[statistics.median(part) for part in zip(*times, strict=True)] for times in found]
