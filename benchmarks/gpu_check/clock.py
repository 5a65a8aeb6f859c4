"""How long something takes on the device: by its own events, sides in turns."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch

from benchmarks.gpu_check.settings import Row, Setting
from benchmarks.operators.timing import interleaved, ratios, spread, timed

# One measurement on a GPU takes at least this long, or launches would be all that is measured.
_LEAST_SECONDS = 0.02
_ROUNDS = 5
OURS = "harmony"


def beside(sides: Mapping[str, Callable[[], object]], setting: Setting) -> Row:
    """Milliseconds of ours and of each peer, interleaved, and the peers' over ours within each round.

    Args:
        sides: `harmony` and its peers, each of which runs once.
        setting: where; the small run has one round.
    """
    rounds = setting.choose(_ROUNDS, 1)
    seconds = interleaved({name: device_timed(run, setting) for name, run in sides.items()}, rounds)
    peers = {name: ratios(each, seconds[OURS]) for name, each in seconds.items() if name != OURS}
    milliseconds = {name: spread([1e3 * one for one in each]) for name, each in seconds.items()}
    return {"milliseconds": milliseconds, "peer_over_harmony": peers}


def milliseconds(run: Callable[[], object], setting: Setting) -> dict[str, float]:
    """Median and range of one thing alone."""
    found: dict[str, float] = beside({OURS: run}, setting)["milliseconds"][OURS]
    return found


def device_timed(run: Callable[[], object], setting: Setting) -> Callable[[], float]:
    """Seconds of one `run`, as a mean of enough in a row; on a GPU between two of its events."""
    if setting.small:
        return timed(run)
    repeats = 0

    def seconds() -> float:
        nonlocal repeats
        if not repeats:
            # The first call builds kernels; the second one says how often the others are to run.
            _elapsed(run, 1)
            repeats = max(1, math.ceil(_LEAST_SECONDS / max(_elapsed(run, 1), 1e-6)))
        return _elapsed(run, repeats) / repeats

    return seconds


def _elapsed(run: Callable[[], object], times: int) -> float:
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        run()
    end.record()
    end.synchronize()
    seconds: float = begin.elapsed_time(end) / 1e3
    return seconds
