"""Whether this process was told to stop, and how: for what is said of jobs that end because of it."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType

_told: list[signal.Signals] = []
# A signal handler may interrupt itself. This queue's `put` may be called while another `put` runs.
_news: queue.SimpleQueue[int] = queue.SimpleQueue()


def told_by(wait_seconds: float = 0.0) -> signal.Signals | None:
    """The first signal that told this process to stop; None if none did, and none does for so long."""
    if not _told and wait_seconds:
        with contextlib.suppress(queue.Empty):
            _news.get(timeout=wait_seconds)
    return _told[0] if _told else None


def hear_interrupt() -> None:
    """From now on Ctrl-C is remembered, and ends the main thread by SystemExit: without a traceback, wherever it is."""

    def leave(number: int, frame: FrameType | None) -> None:
        _note(number)
        raise SystemExit(128 + number)

    _replace(signal.SIGINT, leave, instead_of=signal.default_int_handler)


def hear_hangup(last_words: Callable[[], None]) -> None:
    """From now on a closed terminal is told of before this process dies of it, as it would have: what runs goes on."""

    def die(number: int, frame: FrameType | None) -> None:
        _note(number)
        signal.signal(number, signal.SIG_DFL)
        try:
            last_words()
        finally:
            os.kill(os.getpid(), number)

    # Under nohup the signal stays ignored.
    _replace(signal.SIGHUP, die, instead_of=signal.SIG_DFL)


def hear_termination() -> None:
    """From now on SIGTERM is remembered; what it does stays."""
    before = signal.getsignal(signal.SIGTERM)
    if not callable(before):
        return

    def remember(number: int, frame: FrameType | None) -> None:
        _note(number)
        before(number, frame)

    _replace(signal.SIGTERM, remember, instead_of=before)


def _note(number: int) -> None:
    _told.append(signal.Signals(number))
    _news.put(number)


def _replace(number: signal.Signals, handler: Callable[[int, FrameType | None], None], *, instead_of: object) -> None:
    # Python runs handlers in the main thread alone. A handler that somebody else has set stays.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(number) == instead_of:
        signal.signal(number, handler)
