"""How a training can end, and the rule that calls it diverged."""

from __future__ import annotations

import math
from collections import deque
from enum import StrEnum

PATIENCE = 8


class Status(StrEnum):
    """The final status of an evaluation; `ok` alone may breed."""

    OK = "ok"
    DIVERGED = "diverged"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    CRASHED = "crashed"
    INVALID = "invalid"


class DivergenceRule:
    """Calls a run diverged by its numbers alone, so that the verdict does not depend on the clock.

    A loss or gradient norm that is not finite diverges at once. After warm-up, so does a loss
    that stays above the uniform distribution's, ln V, for `PATIENCE` steps in a row.

    Args:
        vocab_size: V.
        warmup: steps during which a high loss is forgiven.
    """

    def __init__(self, vocab_size: int, warmup: int) -> None:
        self._uniform = math.log(vocab_size)
        self._warmup = warmup
        self._recent: deque[float] = deque(maxlen=PATIENCE)

    def verdict(self, step: int, loss: float, gradient_norm: float) -> str | None:
        """Why the run has diverged at this step, or None.

        Args:
            step: its number.
            loss: mean over the step's tokens, nats.
            gradient_norm: before clipping.
        """
        if not math.isfinite(loss):
            return f"training loss is {loss} at step {step}"
        if not math.isfinite(gradient_norm):
            return f"gradient norm is {gradient_norm} at step {step}"
        if step >= self._warmup:
            self._recent.append(loss)
        if len(self._recent) == PATIENCE and min(self._recent) > self._uniform:
            return f"training loss stayed above the uniform {self._uniform:.3f} for {PATIENCE} steps up to step {step}"
        return None
