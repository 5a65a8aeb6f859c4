from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from harmony_core.errors import UserError
from harmony_core.store import (
    CURVES,
    LATENCY,
    LEDGER,
    POPULATION,
    SELECTION,
    TRAINING,
    SearchFolder,
    queries,
    write_table,
)

Evaluate = Callable[..., None]
MakeRow = Callable[..., dict[str, Any]]
TABLES = {
    "population": POPULATION,
    "training": TRAINING,
    "curves": CURVES,
    "latency": LATENCY,
    "selection": SELECTION,
    "ledger": LEDGER,
}
TWO = [{"id": "a", "bits": 2.0, "latency": 0.1}, {"id": "b", "bits": None, "latency": 0.2}]


@pytest.mark.parametrize("name", TABLES)
def test_a_search_without_rows_gives_an_empty_frame_of_the_schema(
    folder: SearchFolder, make_row: MakeRow, tmp_path: Path, name: str
) -> None:
    frame = getattr(queries, name)(folder).collect()
    assert frame.is_empty()
    write_table(tmp_path / "one", [make_row(TABLES[name])], TABLES[name])
    assert frame.schema == pl.read_parquet(tmp_path / "one", hive_partitioning=False).schema


def test_all_generations_and_shards_are_read(folder: SearchFolder, evaluate: Evaluate, make_row: MakeRow) -> None:
    for generation in (0, 1):
        evaluate(folder, generation, TWO)
    write_table(folder.shard(1, "training", 1), [make_row(TRAINING, generation=1, shard=1, candidate=2)], TRAINING)
    rows = queries.training(folder.path).select("generation", "shard", "candidate").collect().rows()
    assert rows == [(0, 0, 0), (0, 0, 1), (1, 0, 0), (1, 0, 1), (1, 1, 2)]
    assert len(queries.population(folder).collect()) == 4


def test_what_promotion_trained_is_apart(folder: SearchFolder, evaluate: Evaluate) -> None:
    evaluate(folder, 0, TWO)
    evaluate(folder, None, [{"id": "c", "bits": 1.0, "latency": 0.1}])
    assert set(queries.training(folder).collect()["architecture_id"]) == {"a", "b"}
    assert set(queries.training(folder, promoted=True).collect()["architecture_id"]) == {"c"}
    assert queries.population(folder, promoted=True).collect()["generation"].to_list() == [None]


def test_the_ledger_counts_failures_beside_draws(folder: SearchFolder, evaluate: Evaluate, make_row: MakeRow) -> None:
    evaluate(folder, 0, TWO)
    drawn = make_row(LEDGER, search="small", generation=0, stage="sample", reason="duplicate", count=3)
    write_table(folder.ledger(0), [drawn], LEDGER)
    crashed = [make_row(LATENCY, search="small", generation=0, status="crashed", mode=m) for m in ("train", "decode")]
    write_table(folder.shard(0, "latency", 1), crashed, LATENCY)
    rows = queries.ledger(folder).select("stage", "reason", "count").collect().rows()
    assert rows == [("latency", "crashed", 1), ("sample", "duplicate", 3), ("training", "diverged", 1)]


def test_a_damaged_shard_is_a_user_error(folder: SearchFolder, evaluate: Evaluate) -> None:
    evaluate(folder, 0, TWO)
    path = folder.shard(0, "training", 0)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match=r"shard=000\.parquet"):
        queries.training(folder)


def test_a_flipped_bit_is_an_error_and_not_a_result(folder: SearchFolder, evaluate: Evaluate) -> None:
    evaluate(folder, 0, TWO)
    path = folder.shard(0, "training", 0)
    whole, sound = path.read_bytes(), queries.training(folder).collect()
    seen = 0
    # A test of `read_table` takes every byte; this is that the views read by it.
    for position in range(4, len(whole), 29):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x10]) + whole[position + 1 :])
        try:
            rows = queries.training(folder).collect()
        except UserError:
            seen += 1
            continue
        assert rows.equals(sound), position
    assert seen > 100


def test_a_scan_reads_what_is_asked_for(folder: SearchFolder, evaluate: Evaluate) -> None:
    for generation in (0, 1):
        evaluate(folder, generation, TWO)
    rows = queries.population(folder)
    assert rows.select(pl.len()).collect().item() == 4
    assert rows.filter(pl.col("candidate") == 1).select("generation").collect()["generation"].to_list() == [0, 1]
    assert rows.select("candidate", "generation").slice(1, 2).collect().rows() == [(1, 0), (0, 1)]
    assert rows.head(3).collect().height == 3


def test_plain_polars_reads_the_files(folder: SearchFolder, evaluate: Evaluate) -> None:
    for generation in (0, 1):
        evaluate(folder, generation, TWO)
    frame = pl.scan_parquet(f"{folder.path}/**/training/*.parquet", hive_partitioning=True).collect()
    assert frame["generation"].dtype == pl.Int32
    assert frame["generation"].to_list() == [0, 0, 1, 1]
    assert frame["shard"].to_list() == [0, 0, 0, 0]


def test_plain_duckdb_reads_the_files(folder: SearchFolder, evaluate: Evaluate) -> None:
    for generation in (0, 1):
        evaluate(folder, generation, TWO)
    evaluate(folder, None, TWO)
    query = "select generation, shard, candidate, status from read_parquet('{}', hive_partitioning=false)"
    with duckdb.connect() as connection:
        everything = connection.sql(query.format(f"{folder.path}/**/training/*.parquet")).fetchall()
        searched = connection.sql(query.format(f"{folder.path}/generation=*/training/*.parquet")).fetchall()
    assert len(everything) == 4
    assert sorted(searched) == [(0, 0, 0, "ok"), (0, 0, 1, "diverged"), (1, 0, 0, "ok"), (1, 0, 1, "diverged")]


def test_plain_polars_reads_the_search_alone_with_hive_partitioning(folder: SearchFolder, evaluate: Evaluate) -> None:
    evaluate(folder, 0, TWO)
    evaluate(folder, None, TWO)
    rows = pl.scan_parquet(f"{folder.path}/**/training/*.parquet", hive_partitioning=True).collect()
    assert rows["generation"].to_list() == [0, 0]
    assert queries.training(folder, promoted=True).collect()["generation"].to_list() == [None, None]
