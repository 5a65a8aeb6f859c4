"""A mixer's operator or module on both sides: equal gradients, and forward and backward in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmarks.operators.mixers import pass_of
from benchmarks.operators.settings import SIDES, Setting
from benchmarks.operators.timing import interleaved, ratios, spread, timed, verdict

LEAST_SECONDS = 0.1
TOLERANCE = 1e-3


def measured(sides: Mapping[str, Callable[[], Tensor]], rounds: int, promise: float) -> dict[str, Any]:
    """How long both sides take, once their gradients were found equal.

    Args:
        sides: by name, each forward and backward; they answer with the same gradient.
        rounds: how often.
        promise: ratio that is promised at least.
    """
    check_equal([run() for run in sides.values()])
    seconds = interleaved({name: timed(run, LEAST_SECONDS) for name, run in sides.items()}, rounds)
    ratio = ratios(seconds["transformers"], seconds["harmony"])
    return {
        "milliseconds": {name: spread([1e3 * one for one in each]) for name, each in seconds.items()},
        "ratio": ratio,
        **verdict(ratio["median"], promise),
    }


def check_equal(gradients: list[Tensor]) -> None:
    """Raises RuntimeError where the sides' gradients differ."""
    ours, theirs = gradients
    worst = float((ours - theirs).norm() / theirs.norm())
    if worst > TOLERANCE:
        raise RuntimeError(f"the sides' gradients differ by {worst:.1e}")


def passes(modules: Iterable[torch.nn.Module], setting: Setting) -> dict[str, Callable[[], Tensor]]:
    """Forward and backward of the modules of both sides, over the same numbers."""
    shape = (setting.d_model, setting.sequence_length, setting.batch_size)
    return dict(zip(SIDES, (pass_of(module, *shape) for module in modules), strict=True))
