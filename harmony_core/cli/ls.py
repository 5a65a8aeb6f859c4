"""`harmony ls`: the searches that there are."""

from __future__ import annotations

from typing import Any

import polars as pl

from harmony_core.cli.answer import Asked, Columns, Csv, Json, Sort, Where
from harmony_core.errors import UserError
from harmony_core.results.summaries import Summaries
from harmony_core.store import SearchFolder, missing
from harmony_core.terminal.frame import Column, value_of

_SCHEMA = pl.Schema(
    {
        **{"name": pl.String(), "state": pl.String(), "generations": pl.Int64(), "finished": pl.Int64()},
        **{"candidates": pl.Int64(), "ok": pl.Int64(), "failed": pl.Int64(), "best_val_bits_per_byte": pl.Float64()},
        **{"device_hours": pl.Float64(), "promoted": pl.Int64(), "seed": pl.Int64(), "data": pl.String()},
        **{"created_at": pl.Datetime("us", "UTC"), "path": pl.String(), "error": pl.String()},
    }
)


def ls(
    where: Where = None, sort: Sort = None, columns: Columns = None, as_json: Json = False, as_csv: Csv = False
) -> None:
    """The searches under results/: how far each is, and the best that it found."""
    asked = Asked(where, sort, columns, as_json, as_csv)
    asked.needs(_SCHEMA)
    rows = pl.DataFrame([_row(folder) for folder in SearchFolder.all()], schema=_SCHEMA)
    shown = [
        Column("name", "search", is_text=True),
        Column("", "state", lambda row: row["error"] or row["state"], is_text=True, wraps=True),
        Column("", "generations", lambda row: f"{value_of(row['finished'])}/{value_of(row['generations'])}"),
        Column("candidates", "candidates"),
        Column("failed", "failed"),
        Column("", "bits/byte", lambda row: _decimal(row["best_val_bits_per_byte"], 3)),
        Column("", "device hours", lambda row: _decimal(row["device_hours"], 2)),
        Column("", "begun", lambda row: "-" if row["created_at"] is None else f"{row['created_at']:%Y-%m-%d %H:%M}"),
        Column("data", "data", is_text=True),
    ]
    asked.answer("ls", asked.of_table(rows), f"{len(rows)} searches under results/", shown)


def _decimal(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _row(folder: SearchFolder) -> dict[str, Any]:
    """What is told of a search; of one that cannot be read, why not."""
    row: dict[str, Any] = dict.fromkeys(_SCHEMA) | {"name": folder.name, "path": str(folder.path)}
    try:
        summaries = Summaries(folder)
        found = summaries.candidates(["status", "val_bits_per_byte"])
        finished = len(summaries.generations) - len(summaries.under_way)
        config = summaries.config["search"]
        is_over = finished >= config["generations"] and not summaries.under_way
        state = "files missing" if missing(folder) else "finished" if is_over else "not finished"
        status = found["status"]
        ok = int((status == "ok").sum())
        return {
            **{**row, "state": state, "generations": config["generations"], "finished": finished, "ok": ok},
            **{"candidates": len(found), "failed": int(status.count()) - ok, "seed": summaries.manifest.seed},
            "best_val_bits_per_byte": found.filter(pl.col("status") == "ok")["val_bits_per_byte"].min(),
            "device_hours": summaries.tally().device_seconds / 3600,
            "promoted": _num_promoted(folder),
            **{"data": summaries.manifest.data.get("source"), "created_at": summaries.manifest.created_at},
        }
    except (UserError, OSError) as error:
        return {**row, "state": "unreadable", "error": str(error)}


def _num_promoted(folder: SearchFolder) -> int:
    from harmony_core.store import population

    return population(folder, promoted=True, columns=["candidate"]).collect().height
