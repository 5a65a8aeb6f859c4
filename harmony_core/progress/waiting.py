"""What jobs of a search wait for in a cluster's queue: noted by who runs it, read by who watches."""

from __future__ import annotations

from harmony_core.atomic import atomic_write
from harmony_core.store import SearchFolder


def note_waiting(folder: SearchFolder, words: str | None) -> None:
    """Notes what jobs wait for; None where none waits."""
    if words is None:
        folder.waiting.unlink(missing_ok=True)
    else:
        atomic_write(folder.waiting, words.encode())


def read_waiting(folder: SearchFolder) -> str | None:
    """What was noted last; None where no job waits, or nobody looked."""
    try:
        return folder.waiting.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
