"""Readers take earlier minor versions of a table, and refuse other versions in one line that says what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from harmony_core.errors import UserError
from harmony_core.store import CURVES, TRAINING, SearchFolder, queries, read_table, write_table
from harmony_core.store.schemas import INT32, TEXT, column, table
from harmony_core.store.versions import Version, completed, version_of

MakeRow = Callable[..., dict[str, Any]]

FIRST = table("toy", [column("name", TEXT, "name")], "2.0")
SECOND = table(
    "toy",
    [
        column("count", INT32, "how many", since="2.1", before=7),
        column("name", TEXT, "name"),
        column("note", TEXT, "what was noted; null if nothing", nullable=True, since="2.2"),
    ],
    "2.2",
)
THIRD = table("toy", [column("name", TEXT, "name")], "3.0")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "toy.parquet"


def test_an_earlier_minor_version_is_read_with_what_was_added_since(path: Path) -> None:
    write_table(path, [{"name": "a"}, {"name": "b"}], FIRST)
    found = read_table(path, SECOND)
    assert found.columns == ["count", "name", "note"]
    assert found.rows() == [(7, "a", None), (7, "b", None)]
    assert read_table(path, SECOND, ["note"]).rows() == [(None,), (None,)]
    assert read_table(path, SECOND, ["name"]).rows() == [("a",), ("b",)]


def test_a_file_of_the_version_itself_must_have_every_column(path: Path) -> None:
    pq.write_table(FIRST.empty_table().replace_schema_metadata(SECOND.metadata), path)
    with pytest.raises(UserError, match="not a toy table of this version"):
        read_table(path, SECOND)


def test_an_earlier_one_may_lack_no_other_column(path: Path) -> None:
    schema = pa.schema([pa.field("note", pa.string())], FIRST.metadata)
    pq.write_table(schema.empty_table(), path)
    with pytest.raises(UserError, match=r"lacks .*name"):
        read_table(path, SECOND)


@pytest.mark.parametrize(
    ("written", "read", "told"),
    [
        (SECOND, FIRST, r"version 2\.2; this HARMONY reads 2\.0: a newer HARMONY wrote it"),
        (THIRD, SECOND, r"version 3\.0; this HARMONY reads 2\.2: a newer HARMONY wrote it"),
        (FIRST, THIRD, r"version 2\.0; this HARMONY reads 3\.0: `harmony migrate OLD NEW`"),
    ],
)
def test_other_versions_are_refused(path: Path, written: pa.Schema, read: pa.Schema, told: str) -> None:
    pq.write_table(written.empty_table(), path)
    with pytest.raises(UserError, match=told) as raised:
        read_table(path, read)
    assert raised.value.field == str(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("schema", [TRAINING, CURVES], ids=["training", "curves"])
def test_tables_of_format_3_from_before_they_had_versions_are_read(
    path: Path, make_row: MakeRow, schema: pa.Schema
) -> None:
    """Their only token budget is the first."""
    fields = [field for field in schema if field.name != "rung"]
    before = pa.schema(fields, {"table": schema.metadata[b"table"], "format_version": "3"})
    row = make_row(schema, candidate=3)
    del row["rung"]
    write_table(path, [row], before)
    assert read_table(path, schema).to_dicts() == [{**row, "rung": 0}]


def test_a_table_of_somebody_elses_from_before_versions_is_read(path: Path) -> None:
    """Their first version is 1.0, and format 3 is no newer one."""
    mine = table("mine", [column("name", TEXT, "name")])
    assert version_of(mine) == Version(1, 0)
    write_table(path, [{"name": "a"}], mine.with_metadata({"table": "mine", "format_version": "3"}))
    assert read_table(path, mine).rows() == [("a",)]


@pytest.mark.parametrize("version", [b"", b"2", b"two.0", b"2.-1", b"\xff.0"])
def test_without_a_version_that_can_be_read_the_columns_decide(path: Path, version: bytes) -> None:
    """No checksum covers a file's metadata."""
    write_table(path, [{"name": "a"}], FIRST.with_metadata({b"table": b"toy", b"version": version}))
    assert read_table(path, FIRST).rows() == [("a",)]
    with pytest.raises(UserError, match=r"lacks .*count"):
        read_table(path, SECOND)


def test_files_of_several_minor_versions_are_read_together(tmp_path: Path) -> None:
    write_table(tmp_path / "0", [{"name": "a"}], FIRST)
    write_table(tmp_path / "1", [{"name": "b", "count": 1, "note": "n"}], SECOND)
    found = queries.scan([tmp_path / "0", tmp_path / "1"], SECOND).collect()
    assert found.rows() == [(7, "a", None), (1, "b", "n")]


def test_a_journals_row_gets_what_was_added_since(make_row: MakeRow) -> None:
    assert completed({"name": "a"}, SECOND) == {"name": "a", "count": 7, "note": None}
    assert completed({"name": "a", "count": 1, "note": "n"}, SECOND)["count"] == 1
    row = make_row(TRAINING, rung=2)
    assert completed(row, TRAINING) == row


@pytest.mark.parametrize(
    ("added", "version", "told"),
    [
        (column("a", INT32, "one", since="1.1"), "1.1", "no value in files from before 1.1"),
        (column("a", INT32, "one", since="1.2", before=0), "1.1", "since 1.2, but the table's version is 1.1"),
        (column("a", INT32, "one", since="1.1", before=0), "2.1", "since 1.1, but the table's version is 2.1"),
        (column("a", INT32, "one", since="new", before=0), "2.1", "since 'new': use major.minor"),
        (column("a", INT32, "one"), "3", "version '3': use major.minor"),
    ],
)
def test_a_schema_that_could_not_read_its_earlier_files_is_refused(added: pa.Field, version: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        table("toy", [added], version)


def test_the_written_version_is_in_the_files_metadata(folder: SearchFolder, make_row: MakeRow) -> None:
    path = folder.shard(0, "training", 0)
    write_table(path, [make_row(TRAINING)], TRAINING)
    metadata = pq.read_schema(path).metadata
    assert (metadata[b"table"], metadata[b"version"]) == (b"training", b"3.1")
