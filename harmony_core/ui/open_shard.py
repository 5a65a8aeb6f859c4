"""A shard that is worked on: who of it is under way, and the rows that its journal has by now."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmony_core.progress.journal_tail import JournalTail
from harmony_core.store.evaluators import EvaluatorTable, Settings
from harmony_core.store.versions import completed

Key = str


class OpenShard:
    """Follows the journal of one evaluator's shard.

    Args:
        table: the evaluator's.
        journal: its file; it may appear later.
        settings: the search's configuration as its manifest holds it.
    """

    def __init__(self, table: EvaluatorTable, journal: Path, settings: Settings) -> None:
        self.table, self.path = table, journal
        # The task of each attempt under way, with its number.
        self.running: dict[Key, int] = {}
        self.rows: dict[Key, list[dict[str, Any]]] = {}
        self._tail, self._settings = JournalTail(journal), settings

    def read(self) -> bool:
        """Takes in what is new; whether anything was."""
        records = self._tail.read()
        for record in records:
            self._take(record)
        return bool(records)

    def _take(self, record: dict[str, Any]) -> None:
        event, key = record.get("event"), record.get("key")
        if event == "open":
            # What an earlier process had begun ended with it.
            self.running.clear()
        if not isinstance(key, str):
            return
        if event == "begin":
            attempt = record.get("attempt")
            self.running[key] = attempt if isinstance(attempt, int) else 1
            return
        self.running.pop(key, None)
        if event == "final" and key not in self.rows:
            self.rows[key] = self._rows(record.get("answer"))

    def _rows(self, answer: Any) -> list[dict[str, Any]]:
        """The rows of a final record; none where it is damaged, as for a line that is no record."""
        if not isinstance(answer, dict):
            return []
        earlier = [one.get("row") for one in answer.get("rungs") or () if isinstance(one, dict)]
        told = answer.get("rows", [*earlier, answer.get("row")])
        if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
            return []
        return [completed(row, self.table.schema) for row in told]
