"""Waiting for what other processes do: files and processes give no sign of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

# Seconds, which only a test that fails waits. Several work on two cores at once, and others have a share of these.
# What a test wants ended by somebody may not end by itself in that time: it sleeps for ever, or the test waits SOON.
PATIENCE, SOON = 600.0, 30.0


def wait_until(met: Callable[[], T], what: str = "what the test waits for", seconds: float = PATIENCE) -> T:
    """Asks `met` until it says something true, and returns that.

    Raises:
        TimeoutError: It did not within `seconds`; `what` names what was waited for.
    """
    deadline = time.monotonic() + seconds
    while not (answer := met()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {seconds:g} s for {what}; the last answer was {answer!r}")
        time.sleep(0.02)
    return answer


def is_gone(process: psutil.Process | int) -> bool:
    """Whether it, or that of this number, has ended; a zombie has."""
    try:
        one = psutil.Process(process) if isinstance(process, int) else process
        return one.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
