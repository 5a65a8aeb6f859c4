"""Runs that take turns, and what each of their parts took, medians over rounds.

On a CPU these are processor seconds of one thread; on a GPU wall seconds, from an idle device to an idle device.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch

CPU = torch.device("cpu")
ROUNDS = 5
# oneDNN builds a kernel for every new number of rows of an expert.
WARM_UP_ROUNDS = 3

# It runs once, and returns the seconds of each of its parts.
Run = Callable[[], list[float]]


def timed(run: Callable[[], object], device: torch.device = CPU) -> Run:
    """A function as a run of one part.

    Args:
        run: does its work on the device.
        device: that is waited for.
    """
    clock = time.process_time if device.type == "cpu" else time.perf_counter

    def once() -> list[float]:
        wait(device)
        begin = clock()
        run()
        wait(device)
        return [clock() - begin]

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
