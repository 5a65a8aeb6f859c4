"""Seconds of each mixer's forward and backward pass against the sequence's length, and the exponent fitted to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks.operators.mixers import mixer, pass_of
from benchmarks.operators.settings import COST_WIDTH, EXPONENT_PROMISES
from benchmarks.operators.timing import exponents, interleaved, spread, timed
from harmony_core.models import keep_freed_memory

LEAST_SECONDS = 0.1


def measure(kind: str, lengths: Sequence[int], rounds: int) -> dict[str, Any]:
    """One sequence of each length in turns; to be run in a process of its own."""
    keep_freed_memory()
    module = mixer(kind, COST_WIDTH)
    passes = {str(length): timed(pass_of(module, COST_WIDTH, length), LEAST_SECONDS) for length in lengths}
    seconds = {int(length): each for length, each in interleaved(passes, rounds).items()}
    return {
        "milliseconds": {length: spread([1e3 * one for one in each]) for length, each in seconds.items()},
        **judged(kind, exponents(lengths, seconds)),
    }


def judged(kind: str, exponent: dict[str, float]) -> dict[str, Any]:
    """The exponent beside its promised range; None without a promise."""
    if kind not in EXPONENT_PROMISES:
        return {"exponent": exponent, "promise": None, "kept": None}
    low, high = EXPONENT_PROMISES[kind]
    promise = f"at most {high}" if low <= 0 else f"{low} to {high}"
    return {"exponent": exponent, "promise": promise, "kept": low <= exponent["fitted"] <= high}
