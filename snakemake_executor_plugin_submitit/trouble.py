"""What the status thread does about errors: it goes on, so that nobody waits for a thread that has ended."""

import time

from .log import Log
from .shared_files import NotOurs

PATIENCE_SECONDS = 1800.0
"""How long nothing but errors is borne."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0


class Trouble:
    """Counts errors in a row: says them, has the next look wait longer each time, and gives up in the end.

    Args:
        log: Snakemake's logger.
        patience_seconds: How long to go on.
    """

    def __init__(self, log: Log, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._log = log
        self._patience = patience_seconds
        self._since: float | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._again_at = 0.0
        self._said: str | None = None

    @property
    def rests(self) -> bool:
        """Whether it is too early to try again."""
        return time.monotonic() < self._again_at

    def note(self, error: Exception) -> None:
        """An error.

        Raises:
            Exception: This one, if it will not pass, or if nothing else has come for too long.
        """
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if isinstance(error, NotOurs) or now - self._since > self._patience:
            raise error
        words = f"{type(error).__name__}: {error}"
        if words != self._said:
            self._log.warning(f"The jobs' ends cannot be told now, asking again: {words}")
            self._said = words
        self._again_at = now + self._pause
        self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)

    def over(self) -> None:
        """All went well."""
        self._since = self._said = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._again_at = 0.0
