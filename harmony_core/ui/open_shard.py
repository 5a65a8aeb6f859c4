"""A shard that is worked on: the rows that its journal has by now, and who of it is under way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harmony_core.progress.task_journal import TaskJournal
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
        self.table, self.journal = table, TaskJournal(journal)
        self.rows: dict[Key, list[dict[str, Any]]] = {}
        self._settings = settings

    def read(self) -> bool:
        """Takes in what is new; whether anything was."""
        records = self.journal.read()
        for record in records:
            key = record.get("key")
            if record.get("event") == "final" and isinstance(key, str) and key not in self.rows:
                self.rows[key] = self._rows(record.get("answer"))
        return bool(records)

    def _rows(self, answer: Any) -> list[dict[str, Any]]:
        """The rows of a final record; none where it is damaged, as for a line that is no record."""
        if not isinstance(answer, dict):
            return []
        earlier = [one.get("row") for one in answer.get("rungs") or () if isinstance(one, dict)]
        told = answer.get("rows", [*earlier, answer.get("row")])
        if not isinstance(told, list) or not all(isinstance(row, dict) for row in told):
            return []
        return [completed(row, self.table.schema) for row in told]
