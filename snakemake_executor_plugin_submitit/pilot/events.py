"""Waiting, in one thread, for whichever comes first: the end of a process, a signal, or a moment to look around."""

import os
import select
import signal
from types import TracebackType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2)


class Events:
    """Catches signals while it is entered, and waits for them and for processes."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._pids: dict[int, int] = {}

    def watch(self, pid: int) -> None:
        """Tell when this process, a child of this one, has ended."""
        descriptor = os.pidfd_open(pid)
        self._pids[descriptor] = pid
        self._poll.register(descriptor, select.POLLIN)

    def wait(self, seconds: float) -> tuple[list[int], list[int]]:
        """Wait until something happens, at most so long.

        Returns:
            Processes that ended, each told once, and signals that came.
        """
        ended, signals = [], []
        for descriptor, _ in self._poll.poll(1000 * seconds):
            if descriptor == self._signals:
                signals += list(os.read(descriptor, 64))
            else:
                ended.append(self._pids.pop(descriptor))
                self._poll.unregister(descriptor)
                os.close(descriptor)
        return ended, signals

    def __enter__(self) -> "Events":
        self._signals, self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._poll.register(self._signals, select.POLLIN)
        self._wakeup_before = signal.set_wakeup_fd(self._wakeup)
        # With an empty handler Python writes the signal's number into the pipe, and does nothing else.
        self._handlers = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        for descriptor in (self._signals, self._wakeup, *self._pids):
            os.close(descriptor)
