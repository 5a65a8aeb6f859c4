"""What a person sees of one training: a live line on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import collections
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harmony_core.terminal.format import count
from harmony_core.terminal.progress_lines import duration

if TYPE_CHECKING:
    from harmony_core.training.curve import CurvePoint
    from harmony_core.training.learner import StepLosses

_LINE_SECONDS = 10.0
_LIVE_SECONDS = 0.25
# The speed is a mean over so many steps. A run's first step waits for kernels and connections, and is left out.
_RECENT = 20


class TrainingDisplay:
    """Shows how far a training is; a context manager that leaves the terminal as a terminal should be.

    Args:
        console: where.
        num_steps: of the whole training.
        flops_per_token: of the model, for its utilisation [FLOP/token].
        peak_flops: of all devices together [FLOP/s]; None where no machine was named.
        memory: peak memory of this process so far [bytes].
        clock: seconds that never go back.
    """

    def __init__(
        self,
        console: Console,
        num_steps: int,
        flops_per_token: float,
        peak_flops: float | None,
        memory: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._console, self._num_steps, self._memory, self._clock = console, num_steps, memory, clock
        self._utilisation = None if peak_flops is None else flops_per_token / peak_flops
        self._points: collections.deque[CurvePoint] = collections.deque(maxlen=_RECENT + 1)
        self._shown_at = float("-inf")
        self._line = ""
        self._live: Live | None = None

    def update(self, point: CurvePoint, losses: StepLosses) -> None:
        """Hears of a step."""
        if self._points and point.step <= self._points[-1].step:
            # A rung's branch is over, and the trunk goes on from before it.
            self._points.clear()
        self._points.append(point)
        pause = _LIVE_SECONDS if self._console.is_interactive else _LINE_SECONDS
        last = point.step + 1 == self._num_steps
        if self._clock() - self._shown_at < pause and not last:
            return
        self._shown_at = self._clock()
        self._line = self.line(point, losses)
        if not self._console.is_interactive or last:
            self._print()
        elif self._live is None:
            self._live = Live(Text(self._line), console=self._console, auto_refresh=False, transient=True)
            self._live.start(refresh=True)
        else:
            self._live.update(Text(self._line), refresh=True)

    def line(self, point: CurvePoint, losses: StepLosses) -> str:
        """All that is known after a step."""
        parts = [f"step {point.step + 1}/{self._num_steps}", f"loss {point.train_loss:.4f}"]
        speed = self._tokens_per_second()
        if speed is not None:
            parts.append(f"{count(speed)} tokens/s")
            if self._utilisation is not None:
                parts.append(f"MFU {speed * self._utilisation:.1%}")
        parts += [f"memory {self._memory() / 1e9:.2f} GB", f"gradient norm {point.gradient_norm:.3g}"]
        if losses.load_imbalance:
            parts += [f"balancing loss {losses.auxiliary:.3g}", f"busiest expert {losses.load_imbalance:.2f}x"]
        if speed is not None and point.step + 1 < self._num_steps:
            left = (self._num_steps - point.step - 1) * point.tokens / (point.step + 1)
            parts.append(f"ETA {duration(left / speed)}")
        return "  ".join(parts)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._print()

    def _tokens_per_second(self) -> float | None:
        if len(self._points) < 2:
            return None
        first, last = self._points[0], self._points[-1]
        return (last.tokens - first.tokens) / max(last.seconds - first.seconds, 1e-9)

    def _print(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._console.print(self._line, highlight=False, markup=False, soft_wrap=True)
