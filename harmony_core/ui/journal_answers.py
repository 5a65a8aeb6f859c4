"""What a shard's journal says of one candidate before its tables are there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

_POINT = {"step": pl.Int64, "tokens": pl.Int64, "train_loss": pl.Float64}
_RUN = {"replicate": pl.Int32, "rate": pl.Int32, "rung": pl.Int32}


def answers_of(work: Path, architecture_id: str) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """Rows of a candidate that its tasks have answered with, and the points of their curves, of every run.

    Args:
        work: folder of the shard's journal.
        architecture_id: the candidate's.
    """
    rows: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    told: set[str] = set()
    for record in _finals(work / "journal.jsonl", architecture_id):
        key, answer = record.get("key"), record.get("answer")
        if not isinstance(key, str) or key in told or not isinstance(answer, dict):
            continue
        # A task may have two final records; the first counts.
        told.add(key)
        for one in (*(answer.get("rungs") or ()), answer):
            found = [row for row in one.get("rows", [one.get("row")]) if isinstance(row, dict)]
            rows += found
            run = {name: (found[0].get(name) or 0) if found else 0 for name in _RUN}
            points += [
                {**run, **{name: point.get(name) for name in _POINT}}
                for point in one.get("curve") or ()
                if isinstance(point, dict)
            ]
    return rows, pl.DataFrame(points, schema={**_RUN, **_POINT}, strict=False).drop_nulls()


def _finals(path: Path, architecture_id: str) -> Iterator[dict[str, Any]]:
    """The final records of the candidate's tasks; lines that are none are passed over, as in a resumption."""
    wanted = architecture_id.encode()
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            if wanted not in line or not line.endswith(b"\n"):
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if (
                isinstance(record, dict)
                and record.get("event") == "final"
                and architecture_id in str(record.get("key"))
            ):
                yield record
