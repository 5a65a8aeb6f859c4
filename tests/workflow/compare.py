"""Whether two searches hold the same results, wall times, hosts and attempts aside."""

from __future__ import annotations

from pathlib import Path

import polars as pl

VOLATILE = {
    "host", "started_at", "attempt", "start_seconds", "seconds", "eval_seconds", "tokens_per_second",
    "peak_memory_bytes", "device_seconds",
}  # fmt: skip


def tables(results: Path) -> dict[str, pl.DataFrame]:
    """Every Parquet file of a search by its name, without the columns that differ between equal runs."""
    files = sorted(path for path in results.rglob("*.parquet") if "work" not in path.relative_to(results).parts)
    return {str(path.relative_to(results)): stable(pl.read_parquet(path, hive_partitioning=False)) for path in files}


def stable(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that two runs of one search must agree in."""
    return frame.drop([name for name in VOLATILE if name in frame.columns])


def assert_same(first: Path, second: Path) -> None:
    """Fails, naming every file and the rows in it, where two searches differ."""
    left, right = tables(first), tables(second)
    assert left.keys() == right.keys()
    assert left
    differing = {name: _rows_apart(left[name], right[name]) for name in left if not left[name].equals(right[name])}
    assert not differing, "\n".join(f"{name}:\n{rows}" for name, rows in differing.items())


def _rows_apart(left: pl.DataFrame, right: pl.DataFrame) -> str:
    """The first rows that only one of two tables has."""
    first, second = left.rows(named=True), right.rows(named=True)
    alone = {
        "first": [row for row in first if row not in second],
        "second": [row for row in second if row not in first],
    }
    return "\n".join(f"  {len(rows)} in the {which} alone: {rows[:2]}" for which, rows in alone.items())
