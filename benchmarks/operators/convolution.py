"""Blocked convolution against FFT for the filters of Hyena-SE and Hyena-MR; the direct one beside them.

B batch, T tokens, D channels, G filter groups, K taps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from benchmarks.operators.settings import CONVOLUTION_PROMISED_FROM, SEED
from benchmarks.operators.timing import interleaved, ratios, spread
from harmony_core.models import keep_freed_memory
from harmony_core.models.ops.convolution.blocked import BlockedConvolution
from harmony_core.models.ops.convolution.direct import DirectConvolution
from harmony_core.models.ops.convolution.fft import FFTConvolution
from harmony_core.models.ops.convolution.gated import Convolution, convolve

# Taps of each kind's filter.
KINDS = {"hyena_se": 7, "hyena_mr": 128}
GROUP_WIDTH = 16
WAYS: dict[str, Convolution] = {
    "blocked": BlockedConvolution(),
    "fft": FFTConvolution(),
    "direct": DirectConvolution(),
}
LEAST_SECONDS = 0.05
TOLERANCE = 1e-4


class Passes(NamedTuple):
    """Mean seconds of a forward and of a backward pass."""

    forward: float
    backward: float


def measure(kind: str, d_model: int, length: int, rounds: int) -> dict[str, Any]:
    """One sequence of `length` tokens each way, in turns; to be run in a process of its own."""
    keep_freed_memory()
    generator = torch.Generator().manual_seed(SEED)
    u_BTD = torch.randn(1, length, d_model, generator=generator, requires_grad=True)
    h_GK = torch.randn(d_model // GROUP_WIDTH, KINDS[kind], generator=generator).div_(KINDS[kind]).requires_grad_()
    dy_BTD = torch.randn(1, length, d_model, generator=generator)
    check_equal([convolve(u_BTD, way, h_GK).detach() for way in WAYS.values()])
    sides = {name: passes(way, u_BTD, h_GK, dy_BTD) for name, way in WAYS.items()}
    return {"taps": KINDS[kind], **summary(interleaved(sides, rounds), length)}


def check_equal(outputs: Sequence[torch.Tensor]) -> None:
    """Raises RuntimeError where two ways do not say the same."""
    first = outputs[0]
    worst = max(float((one - first).abs().max() / first.abs().max()) for one in outputs)
    if worst > TOLERANCE:
        raise RuntimeError(f"the ways differ by {worst:.1e} of the largest output")


def passes(way: Convolution, u_BTD: torch.Tensor, h_GK: torch.Tensor, dy_BTD: torch.Tensor) -> Callable[[], Passes]:
    """Times forward and backward; as many in a row as take `LEAST_SECONDS`, told by the first, single one."""
    repeats = 0

    def run() -> Passes:
        nonlocal repeats
        forward = backward = 0.0
        for _ in range(max(repeats, 1)):
            u_BTD.grad = h_GK.grad = None
            start = time.perf_counter()
            y_BTD = convolve(u_BTD, way, h_GK)
            middle = time.perf_counter()
            y_BTD.backward(dy_BTD)
            forward, backward = forward + middle - start, backward + time.perf_counter() - middle
        found = Passes(forward / max(repeats, 1), backward / max(repeats, 1))
        repeats = repeats or max(1, math.ceil(LEAST_SECONDS / sum(found)))
        return found

    return run


def summary(found: Mapping[str, Sequence[Passes]], length: int) -> dict[str, Any]:
    """Milliseconds of each way and how many times as long the FFT takes.

    Promised is that the blocked way is faster than the FFT in both directions; the direct one is shown beside it.
    """
    directions = Passes._fields
    seconds = {way: {name: [getattr(one, name) for one in each] for name in directions} for way, each in found.items()}
    ratio = {
        way: {name: ratios(seconds["fft"][name], times[name]) for name in directions}
        for way, times in seconds.items()
        if way != "fft"
    }
    promised = length >= CONVOLUTION_PROMISED_FROM
    return {
        "milliseconds": {
            way: {name: spread([1e3 * one for one in each]) for name, each in times.items()}
            for way, times in seconds.items()
        },
        "ratio": ratio,
        "promise": 1.0 if promised else None,
        "kept": all(each["median"] > 1 for each in ratio["blocked"].values()) if promised else None,
    }
