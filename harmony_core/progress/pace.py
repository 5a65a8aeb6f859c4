"""When a search will be over, as far as anybody can say."""

from __future__ import annotations

import time
from collections.abc import Callable

from harmony_core.progress.search import SearchProgress

_LEAST = 3


class Pace:
    """Estimates the time that is left; says nothing before there is evidence.

    What this process has seen counts first: trainings that ended, a second of its own clock. Until it has
    seen a wave of them, and from another shell, it is the mean training time over the number running.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start: tuple[float, float] | None = None

    def seconds_left(self, progress: SearchProgress) -> float | None:
        """Seconds until the last training ends; None if nobody can say, or nothing is left."""
        now = self._clock()
        if self._start is None and progress.generations:
            self._start = (now, progress.work_done)
        if self._start is None or progress.work_left <= 0:
            return None
        elapsed, gained = now - self._start[0], progress.work_done - self._start[1]
        running = progress.running or 0
        if gained >= max(_LEAST, running) and elapsed > 0:
            return progress.work_left * elapsed / gained
        if running and progress.mean_seconds:
            return progress.work_left * progress.mean_seconds / running
        return None
