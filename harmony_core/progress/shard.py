"""One shard's tasks: from its journal while it is worked on, from its table once that is there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from harmony_core.progress.result import Result
from harmony_core.progress.tables import read_if_there
from harmony_core.progress.task_journal import TaskJournal
from harmony_core.progress.under_way import UnderWay
from harmony_core.store import Run
from harmony_core.store.evaluators import Row

Key = tuple[int, Run]


class ShardReader:
    """Follows one shard of one table.

    Args:
        table: the shard's Parquet file, its last word.
        schema: of the table.
        columns: those that `results` needs.
        journal: where its tasks' events are written as they happen.
        results: rows to results.
        is_member: whether an architecture is that candidate's; a journal may outlive its search.
    """

    def __init__(
        self,
        table: Path,
        schema: pa.Schema,
        columns: Sequence[str],
        journal: Path,
        results: Callable[[Sequence[Row]], list[Result]],
        is_member: Callable[[Result], bool],
    ) -> None:
        self.results: dict[Key, Result] = {}
        self.is_whole = False
        self._table, self._schema, self._columns = table, schema, columns
        self._journal = TaskJournal(journal)
        self._results, self._is_member = results, is_member

    @property
    def num_running(self) -> int | None:
        """Tasks that have begun and not ended; None if nobody says."""
        if self.is_whole:
            return 0
        return None if self._journal.running is None else len(self._journal.running)

    def under_way(self, most: int) -> list[UnderWay]:
        """Its trainings that run now, `most` at most."""
        return [] if self.is_whole else self._journal.under_way(most)

    def read(self) -> None:
        """Takes in what is new."""
        if self.is_whole:
            return
        rows = read_if_there(self._table, self._schema, self._columns)
        if rows is None:
            for record in self._journal.read():
                if record.get("event") == "final":
                    self._take(record)
            return
        found = self._results(rows.to_dicts())
        # In a promotion the rest of the front is measured beside the members.
        self.results = {(one.candidate, one.run): one for one in found if self._is_member(one)}
        self.is_whole = True

    def _take(self, record: dict[str, Any]) -> None:
        for one in self._answer(record):
            if self._is_member(one):
                # A task may have two final records; the first counts, as for those who write them.
                self.results.setdefault((one.candidate, one.run), one)

    def _answer(self, record: dict[str, Any]) -> list[Result]:
        """The results of a final record; none where it is damaged, as for a line that is no record."""
        answer = record.get("answer")
        if not isinstance(answer, dict):
            return []
        rows = answer.get("rows", [answer.get("row")])
        try:
            return self._results(rows)
        except (TypeError, KeyError):
            return []
