import errno
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from harmony_core.errors import UserError
from harmony_core.store import LEDGER, POPULATION, SELECTION, TRAINING, read_table, write_table

MakeRow = Callable[..., dict[str, Any]]


def test_round_trip(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "a" / "training.parquet"
    rows = [
        make_row(TRAINING, candidate=np.int64(3), val_loss=np.float32(0.5), init_seed=2**63 - 1),
        make_row(TRAINING, candidate=4, val_loss=None, status="diverged", error="loss is nan"),
    ]
    write_table(path, rows, TRAINING)
    assert read_table(path, TRAINING).to_dicts() == rows
    assert pq.read_schema(path).equals(TRAINING, check_metadata=True)


def test_lists_of_parents(tmp_path: Path, make_row: MakeRow) -> None:
    rows = [make_row(POPULATION, parents=parents) for parents in ([], ["a"], ["a", "b"])]
    write_table(tmp_path / "p", rows, POPULATION)
    assert read_table(tmp_path / "p", POPULATION)["parents"].to_list() == [[], ["a"], ["a", "b"]]


def test_no_rows_keep_the_schema(tmp_path: Path) -> None:
    write_table(tmp_path / "p", [], LEDGER)
    frame = read_table(tmp_path / "p", LEDGER)
    assert frame.columns == LEDGER.names
    assert frame.is_empty()


def test_equal_rows_give_equal_bytes(tmp_path: Path, make_row: MakeRow) -> None:
    rows = [make_row(TRAINING, candidate=candidate, val_loss=1 / (candidate + 1)) for candidate in range(200)]
    write_table(tmp_path / "one", rows, TRAINING)
    # The order of a row's keys is not content.
    write_table(tmp_path / "two", [dict(reversed(row.items())) for row in rows], TRAINING)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_times_are_utc(tmp_path: Path, make_row: MakeRow) -> None:
    there = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    write_table(tmp_path / "t", [make_row(TRAINING, started_at=there)], TRAINING)
    assert read_table(tmp_path / "t", TRAINING)["started_at"].to_list() == [datetime(2026, 1, 1, 10, tzinfo=UTC)]


def test_no_step_that_writes_waits_for_pandas(tmp_path: Path) -> None:
    code = """
import sys
from datetime import UTC, datetime
import pyarrow as pa
from harmony_core.store import write_table
kinds = {"a": pa.string(), "b": pa.timestamp("us", "UTC"), "c": pa.list_(pa.string()), "d": pa.int32(), "e": pa.bool_()}
write_table(sys.argv[1], [{"a": "x", "b": datetime.now(UTC), "c": ["y"], "d": 1, "e": None}], pa.schema(kinds))
sys.exit("pandas" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "t"], check=False).returncode == 0


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("candidate", None, "null"),
        ("candidate", "3", "whole number"),
        ("candidate", 3.0, "whole number"),
        ("candidate", True, "whole number"),
        ("candidate", 2**31, "candidate"),
        ("val_works", [{"work": "a", "bytes": 2**64, "bits_per_byte": 1.0}], "val_works"),
        ("val_loss", "low", "number"),
        ("val_loss", False, "number"),
        ("host", 7, "text"),
        ("status", "interrupted", "use one of"),
        ("started_at", datetime(2026, 1, 1), "time zone"),
        ("started_at", "2026-01-01", "time zone"),
    ],
)
def test_wrong_values_are_refused(tmp_path: Path, make_row: MakeRow, column: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=f"{column}.*{said}|{said}"):
        write_table(tmp_path / "t", [make_row(TRAINING), {**make_row(TRAINING), column: value}], TRAINING)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("column", "value"), [("survives", 1), ("survives", "yes"), ("rank", None), ("violation", "none")]
)
def test_wrong_values_of_a_selection(tmp_path: Path, make_row: MakeRow, column: str, value: Any) -> None:
    with pytest.raises(ValueError, match=column):
        write_table(tmp_path / "t", [{**make_row(SELECTION), column: value}], SELECTION)


@pytest.mark.parametrize("parents", ["abc", [1], [None], None])
def test_wrong_parents(tmp_path: Path, make_row: MakeRow, parents: Any) -> None:
    with pytest.raises(ValueError, match="parents"):
        write_table(tmp_path / "t", [make_row(POPULATION, parents=parents)], POPULATION)


def test_missing_and_unknown_columns_are_named(tmp_path: Path, make_row: MakeRow) -> None:
    row = make_row(LEDGER)
    del row["count"]
    with pytest.raises(ValueError, match=r"missing \['count'\], unknown \['counts'\]"):
        write_table(tmp_path / "t", [{**row, "counts": 1}], LEDGER)


def test_a_missing_file_is_a_user_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        read_table(tmp_path / "none.parquet", LEDGER)


def test_another_schema_is_a_user_error(tmp_path: Path, make_row: MakeRow) -> None:
    write_table(tmp_path / "t", [make_row(LEDGER)], LEDGER)
    with pytest.raises(UserError, match="not a selection table") as caught:
        read_table(tmp_path / "t", SELECTION)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["empty", "cut", "no parquet"])
def test_damage_is_a_user_error(tmp_path: Path, make_row: MakeRow, damage: str) -> None:
    path = tmp_path / "t"
    write_table(path, [make_row(TRAINING)] * 50, TRAINING)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "no parquet": b"text " * 99}[damage])
    with pytest.raises(UserError, match="move the file away; `harmony resume` makes it again"):
        read_table(path, TRAINING)


def test_no_flipped_byte_of_the_data_goes_unseen(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "t"
    rows = [make_row(LEDGER, count=number * 7919) for number in range(64)]
    write_table(path, rows, LEDGER)
    whole, sound = path.read_bytes(), read_table(path, LEDGER)
    for position in range(len(whole)):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            frame = read_table(path, LEDGER)
        except UserError:
            continue
        # Some bytes of the footer say nothing about the rows (statistics, the writer's name).
        assert frame.equals(sound), position


def test_a_name_that_is_no_longer_text_is_a_user_error(tmp_path: Path, make_row: MakeRow) -> None:
    path = tmp_path / "t"
    write_table(path, [make_row(LEDGER)], LEDGER)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"reason", b"rea\xffon"))
    with pytest.raises(UserError):
        read_table(path, LEDGER)


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_file_system_in_trouble_says_nothing_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """Nobody is told to move healthy data away."""
    path = tmp_path / "ledger.parquet"
    write_table(path, [], LEDGER)

    def trouble(*arguments: Any, **options: Any) -> None:
        raise OSError(code, "Error reading bytes from file. Detail: [errno 5] Input/output error")

    monkeypatch.setattr(pq, "ParquetFile", trouble)
    with pytest.raises(UserError, match="try again") as raised:
        read_table(path, LEDGER)
    assert raised.value.value == os.strerror(code)
    assert "move" not in str(raised.value)
