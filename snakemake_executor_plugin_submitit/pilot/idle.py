"""How long there has been nothing to do."""

import time


class Idle:
    """Measures how long there has been nothing to do, by this process's own clock.

    Args:
        seconds: How long is too long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._beat: int | None = None
        self.reset()

    def reset(self) -> None:
        """Something is to do."""
        self._since = time.monotonic()

    def too_long(self, beat: int | None) -> bool:
        """Whether it has been too long.

        Args:
            beat: Of a main process that says that more will come; as long as it grows, the time does not count.
        """
        if beat is not None and beat != self._beat:
            self._beat = beat
            self.reset()
        return time.monotonic() - self._since > self._seconds
