"""However a search's files are damaged, they are read as they were written, or refused in one line that names them."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_core.errors import UserError
from harmony_core.store import LEDGER, POPULATION, SearchFolder, queries, read_manifest, read_table, write_table
from tests.damage import damaged, refused, several

MakeRow = Callable[..., dict[str, Any]]
Evaluate = Callable[..., None]


@several
@given(data=st.data())
def test_a_manifest(folder: SearchFolder, data: st.DataObject) -> None:
    sound = read_manifest(folder.manifest)
    path = folder.path / "damaged.json"
    path.write_bytes(data.draw(damaged(folder.manifest.read_bytes())))
    try:
        found = read_manifest(path)
    except UserError as told:
        refused(told, path)
    else:
        # White space says nothing. Manifests of earlier versions have no checksum, as one from which it was cut.
        assert found == sound or "checksum" not in json.loads(path.read_bytes())


@several
@given(data=st.data())
def test_a_table(folder: SearchFolder, make_row: MakeRow, data: st.DataObject) -> None:
    whole, path = folder.path / "sound.parquet", folder.path / "damaged.parquet"
    schema = POPULATION if data.draw(st.booleans()) else LEDGER
    rows = [make_row(schema, **({"parents": ["a", "b"]} if schema is POPULATION else {"count": n})) for n in range(16)]
    write_table(whole, rows, schema)
    path.write_bytes(data.draw(damaged(whole.read_bytes())))
    try:
        found = read_table(path, schema)
    except UserError as told:
        refused(told, path)
    else:
        assert found.equals(read_table(whole, schema))


def test_damage_is_told_where_it_is_asked_and_in_no_thread_of_polars(folder: SearchFolder, evaluate: Evaluate) -> None:
    """Python in a thread of Polars that outlives the error ends in SIGABRT, one run in five."""
    evaluate(folder, 0, [{"id": "a", "bits": 2.0, "latency": 0.1}])
    path = folder.shard(0, "training", 0)
    content = bytearray(path.read_bytes())
    # In the first column's page, which no footer tells of.
    content[60] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"shard=000\.parquet"):
        queries.training(folder)


def test_all_is_read_before_polars_begins(
    folder: SearchFolder, evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate(folder, 0, [{"id": "a", "bits": 2.0, "latency": 0.1}])
    asked = threading.get_ident()
    read = queries.read_table

    def watched(*arguments: Any) -> pl.DataFrame:
        assert threading.get_ident() == asked
        return read(*arguments)

    monkeypatch.setattr(queries, "read_table", watched)
    frames = [queries.population(folder), queries.training(folder), queries.latency(folder)]

    def gone(*_: Any) -> pl.DataFrame:
        raise AssertionError("read while it is collected")

    monkeypatch.setattr(queries, "read_table", gone)
    assert [frame.height for frame in pl.collect_all(frames)] == [1, 1, 2]
