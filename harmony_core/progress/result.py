"""How a task ended: the little of an evaluator's row that progress is told from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from harmony_core.store import Run
from harmony_core.store.evaluators import EvaluatorTable, Row, Settings


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The final row of one run of a candidate.

    Args:
        candidate: its number in the generation.
        run: which of its trainings.
        architecture_id: its architecture's id.
        status: `ok`, or how it failed.
        error: text of the failure.
        value: the evaluator's first metric; None if it failed.
        seconds: what it took, as far as the row says.
    """

    candidate: int
    run: Run
    architecture_id: str
    status: str
    error: str | None
    value: float | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.status == "ok" and self.value is not None


def columns_of(table: EvaluatorTable) -> list[str]:
    """What `results` reads of an evaluator's rows."""
    # The columns that the table's view reads say which row counts.
    wanted = {"candidate", "architecture_id", "status", "error", *table.columns, *table.metrics[:1], *table.seconds}
    return [name for name in table.schema.names if name in wanted]


def results(table: EvaluatorTable, settings: Settings, rows: Iterable[Row]) -> list[Result]:
    """Rows of an evaluator's table, or of its journal, that count.

    Args:
        table: of the evaluator.
        settings: the search's configuration as its manifest holds it; says which rows count.
        rows: by column name.
    """
    return [_result(table, row) for row in rows if table.counts(row, settings)]


def _result(table: EvaluatorTable, row: Row) -> Result:
    return Result(
        row["candidate"],
        Run(row.get("replicate", 0), row.get("rate", 0)),
        row["architecture_id"],
        row["status"],
        row["error"],
        row[table.metrics[0]],
        sum(row[name] or 0.0 for name in table.seconds),
    )
