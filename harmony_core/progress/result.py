"""How a task ended: the little of a training or latency row that progress is told from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True, slots=True)
class Result:
    """The final row of one candidate and replicate.

    Args:
        candidate: its number in the generation.
        replicate: number of the repetition on fresh seeds.
        architecture_id: its architecture's id.
        status: `ok`, or how it failed.
        error: text of the failure.
        value: validation bits per byte, or latency [s]; None if it failed.
        seconds: what it took, as far as the row says.
    """

    candidate: int
    replicate: int
    architecture_id: str
    status: str
    error: str | None
    value: float | None
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether there is a value."""
        return self.status == "ok" and self.value is not None


TRAINING_COLUMNS = (
    "candidate",
    "replicate",
    "architecture_id",
    "status",
    "error",
    "val_bits_per_byte",
    "start_seconds",
    "seconds",
    "eval_seconds",
)
LATENCY_COLUMNS = ("candidate", "architecture_id", "status", "error", "mode", "seconds_median", "seconds")


def trained(rows: Iterable[Row]) -> list[Result]:
    """Rows of `schemas.TRAINING`, or of a training's journal."""
    return [_trained(row) for row in rows]


def timed(rows: Iterable[Row], mode: str) -> list[Result]:
    """Rows of `schemas.LATENCY`, or of a measurement's journal, in the mode that is the objective."""
    return [_timed(row) for row in rows if row["mode"] == mode]


def _trained(row: Row) -> Result:
    seconds = sum(row[name] or 0.0 for name in ("start_seconds", "seconds", "eval_seconds"))
    return Result(
        row["candidate"],
        row["replicate"],
        row["architecture_id"],
        row["status"],
        row["error"],
        row["val_bits_per_byte"],
        seconds,
    )


def _timed(row: Row) -> Result:
    return Result(
        row["candidate"],
        0,
        row["architecture_id"],
        row["status"],
        row["error"],
        row["seconds_median"],
        row["seconds"],
    )
