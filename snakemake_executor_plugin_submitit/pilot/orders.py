"""The main process's side of its orders: written at every change, and again and again as a sign of life."""

import threading

from ..log import Log
from .session import Orders, Session

BEATS_PER_IDLE = 4
LONGEST_SECONDS = 15.0
SHORTEST_SECONDS = 0.2


class Commander:
    """Writes orders from a thread of its own, so that whoever gives one does not wait for the file system.

    Args:
        session: Whose orders.
        idle_seconds: After so long without a beat an agent with nothing to do gives its allocation back.
        log: For a file system that does not take the orders.
    """

    def __init__(self, session: Session, idle_seconds: float, log: Log) -> None:
        self._session = session
        self._seconds = min(max(idle_seconds / BEATS_PER_IDLE, SHORTEST_SECONDS), LONGEST_SECONDS)
        self._log = log
        self._more = True
        self._beat = session.orders().beat
        self._changed = threading.Event()
        self._closed = False
        self._write()
        self._thread = threading.Thread(target=self._beat_on, name="orders of the standing allocation", daemon=True)
        self._thread.start()

    def say(self, more: bool) -> None:
        """Say whether more jobs may come beyond those in the inbox."""
        if more != self._more:
            self._more = more
            self._changed.set()

    def close(self) -> None:
        """Say that no more will come, and fall silent."""
        self._more, self._closed = False, True
        self._changed.set()
        self._thread.join()

    def _beat_on(self) -> None:
        while not self._closed:
            self._changed.wait(self._seconds)
            self._changed.clear()
            self._write()
        self._write()

    def _write(self) -> None:
        self._beat += 1
        try:
            self._session.command(Orders(more=self._more, beat=self._beat))
        except OSError as error:
            # The disk or the quota is full. The agent waits for idle_seconds, and the next beat tries again.
            self._log.warning(f"cannot write {self._session.root / 'orders.json'}: {error}")
