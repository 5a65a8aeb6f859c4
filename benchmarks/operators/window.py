"""The sliding window's mixer alone against full attention alone, with the same heads."""

from __future__ import annotations

from typing import Any

from benchmarks.operators.mixers import mixer, pass_of
from benchmarks.operators.settings import WINDOW, WINDOW_LENGTH, WINDOW_PROMISE
from benchmarks.operators.timing import interleaved, ratios, spread, timed, verdict
from harmony_core.models import keep_freed_memory

LEAST_SECONDS = 0.2


def measure(d_model: int, rounds: int) -> dict[str, Any]:
    """Forward and backward of one sequence through each, in turns."""
    keep_freed_memory()
    kinds = ("swa", "gqa")
    sides = {kind: timed(pass_of(mixer(kind, d_model), d_model, WINDOW_LENGTH), LEAST_SECONDS) for kind in kinds}
    seconds = interleaved(sides, rounds)
    ratio = ratios(seconds["gqa"], seconds["swa"])
    return {
        "window": WINDOW,
        "sequence_length": WINDOW_LENGTH,
        "milliseconds": {kind: spread([1e3 * one for one in each]) for kind, each in seconds.items()},
        "ratio": ratio,
        **verdict(ratio["median"], WINDOW_PROMISE),
    }
