"""Who of a shard is under way, by the journal of its tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmony_core.progress.journal_tail import JournalTail
from harmony_core.progress.under_way import UnderWay, under_way


class TaskJournal:
    """Follows a shard's journal.

    Args:
        path: the journal; it may appear later.
    """

    def __init__(self, path: Path) -> None:
        # Attempts that have begun and not ended, by their tasks' keys, with their numbers; None where a journal of an
        # older version does not say what has begun.
        self.running: dict[str, int] | None = {}
        self._is_fresh = True
        self._path, self._tail = path, JournalTail(path)

    def read(self) -> list[dict[str, Any]]:
        """Takes in what is new, and returns those records."""
        records = self._tail.read()
        for record in records:
            self._take(record)
        return records

    def under_way(self, most: int) -> list[UnderWay]:
        """The attempts under way, `most` at most."""
        return under_way(self._path.parent, self.running or {}, most)

    def _take(self, record: dict[str, Any]) -> None:
        event, key, attempt = record.get("event"), record.get("key"), record.get("attempt")
        if event == "open" or (event == "begin" and self.running is None):
            # What an earlier process had begun ended with it.
            self.running = {}
        elif self._is_fresh and event != "begin":
            self.running = None
        self._is_fresh = False
        if self.running is None or not isinstance(key, str):
            return
        if event == "begin":
            self.running[key] = attempt if isinstance(attempt, int) else 1
        else:
            self.running.pop(key, None)
