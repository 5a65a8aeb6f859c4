"""The program that runs in an allocation as long as it lives."""

import signal
from collections.abc import Callable

from ..backend import TRY_AGAIN
from ..child import Child, tail

STARTS = 2


class Companion:
    """Starts the companion, once more after a crash, and judges its end.

    Args:
        start: Starts it for the nth time; None where there is none.
    """

    def __init__(self, start: Callable[[int], Child] | None) -> None:
        self._start = start
        self._starts = 0
        self._stopped = False
        self.child: Child | None = None
        self.left = False
        """It ended in order, so the allocation's time is up: Slurm tells its job steps, and nobody else, of that."""
        self.failure: str | None = None
        """It crashed once too often: what it said last."""

    def start(self) -> None:
        """Start it."""
        if self._start is not None:
            self._starts += 1
            self.child = self._start(self._starts)

    def is_process(self, pid: int) -> bool:
        """Whether this process is the companion."""
        return self.child is not None and self.child.process.pid == pid

    def ended(self) -> None:
        """Its process ended."""
        assert self.child is not None
        child, self.child = self.child, None
        code = child.wait()
        if self._stopped or code in (0, TRY_AGAIN):
            self.left = True
        elif self._starts < STARTS:
            self.start()
        else:
            said = tail(child.log).splitlines()
            self.failure = f"pilot_command failed twice, exit code {code}: {said[-1] if said else 'no output'}"

    def warn(self) -> None:
        """Pass on that the time limit is near, as Slurm does to the job's steps."""
        if self.child is not None:
            self.child.warn(signal.SIGUSR2)

    def stop(self) -> None:
        """Ask it to end."""
        self._stopped = True
        if self.child is not None:
            self.child.signal(signal.SIGTERM)
