"""What is kept of a generation says what its files say, or is made anew."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from benchmarks.made_up_search import Size, write_search
from harmony_core.results import failures as failures_module
from harmony_core.results import leaderboard, summaries, views
from harmony_core.results.candidates import measured
from harmony_core.results.failures import failures
from harmony_core.results.summaries import LEFT_OUT, Summaries
from harmony_core.store import TRAINING, SearchFolder, population, queries, read_table, write_table

SIZE = Size(180, generations=3, shards=2, curve_points=1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "search"
    write_search(SearchFolder(folder), SIZE, hostile=True)
    return folder


@pytest.fixture
def search(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFolder:
    """A copy, all of whose generations are large."""
    monkeypatch.setattr(summaries, "LEAST_CANDIDATES", 1)
    return SearchFolder(shutil.copytree(made, tmp_path / "search"))


def plain(search: SearchFolder) -> pl.DataFrame:
    """The candidates as the store's own queries have them."""
    config = Summaries(search).config
    found = measured(population(search), queries.viewed(search, config), config)
    return found.drop(LEFT_OUT).collect()


def kept(search: SearchFolder) -> list[Path]:
    return sorted(search.work("summaries").glob("*.parquet"))


def test_a_summary_says_what_the_files_say(search: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Summaries(search)
    assert_frame_equal(first.candidates(), plain(search))
    assert len(kept(search)) == SIZE.generations
    tally = first.tally()
    monkeypatch.setattr(summaries, "LEAST_CANDIDATES", 10**9)
    assert Summaries(search).tally() == tally
    monkeypatch.setattr(summaries, "LEAST_CANDIDATES", 1)
    monkeypatch.setattr(summaries, "scan", None)
    second = Summaries(search)
    assert_frame_equal(second.candidates(), first.candidates())
    assert second.tally() == tally
    assert second.candidates(["status", "pattern"]).columns == ["pattern", "status"]


def test_failures_are_kept_beside_the_summaries(search: SearchFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = failures(Summaries(search))
    expected = [
        {"generation": row["generation"], "candidate": row["candidate"], "stage": table, "error": row["error"]}
        for table, rows in (("training", queries.training(search)), ("latency", queries.latency(search)))
        for row in rows.filter(pl.col("status") != "ok").collect().to_dicts()
    ]
    assert first.select("generation", "candidate", "stage", "error").to_dicts() == expected
    assert first.height > 3
    paths = sorted(search.work("summaries", "failures").glob("*.parquet"))
    assert len(paths) == SIZE.generations
    read = failures_module.scan
    read_again: list[Path] = []
    monkeypatch.setattr(failures_module, "scan", lambda paths, *rest: read_again.extend(paths) or read(paths, *rest))
    assert_frame_equal(failures(Summaries(search)), first)
    assert read_again == search.shards(None, "training") + search.shards(None, "latency")
    # A file that is not there any more, and one that is damaged, are seen.
    search.shard(1, "training", 0).unlink()
    paths[2].write_bytes(paths[2].read_bytes()[:-40])
    monkeypatch.setattr(summaries, "LEAST_CANDIDATES", 10**9)
    plain_failures = failures(Summaries(search))
    assert plain_failures.height < first.height
    monkeypatch.setattr(summaries, "LEAST_CANDIDATES", 1)
    assert_frame_equal(failures(Summaries(search)), plain_failures)


def test_a_selection_keeps_its_generation(search: SearchFolder) -> None:
    Summaries(search).keep(1)
    assert [path.name for path in kept(search)] == ["generation=001.parquet"]


def test_rows_are_completed_where_they_are(search: SearchFolder) -> None:
    found = Summaries(search)
    rows = found.candidates(["generation", "candidate"]).sample(20, seed=1)
    whole = found.completed(rows, [*found.schema, *LEFT_OUT])
    expected = rows.join(population(search).collect(), on=["generation", "candidate"], maintain_order="left")
    assert whole["architecture"].to_list() == expected["architecture"].to_list()
    assert whole["architecture_id"].to_list() == expected["architecture_id"].to_list()


def test_another_result_is_seen_whatever_its_times_say(search: SearchFolder) -> None:
    best = leaderboard(search).collect().row(0, named=True)
    path = search.shard(best["generation"], "training", best["candidate"] // SIZE.per_shard)
    before = path.stat()
    rows = read_table(path, TRAINING).to_dicts()
    changed = [{**row, "val_bits_per_byte": 9.0} if row["candidate"] == best["candidate"] else row for row in rows]
    write_table(path, changed, TRAINING)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    again = leaderboard(search).collect()
    assert again.row(0, named=True)["architecture_id"] != best["architecture_id"]
    assert again.row(-1, named=True)["val_bits_per_byte"] == 9.0


def test_a_damaged_summary_is_made_anew(search: SearchFolder) -> None:
    expected = Summaries(search).candidates()
    (path, *_) = kept(search)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for place in [*rng.integers(len(content), size=8).tolist(), len(content) - 40, len(content) - 6]:
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        assert_frame_equal(Summaries(search).candidates(), expected)
    path.write_bytes(content[:100])
    assert_frame_equal(Summaries(search).candidates(), expected)


def test_files_that_go_and_generations_under_way(search: SearchFolder) -> None:
    Summaries(search).candidates()
    search.shard(1, "training", 0).unlink()
    search.selection(2).unlink()
    found = Summaries(search)
    assert found.under_way == [2]
    assert found.candidates().filter(generation=1)["status"].null_count() == SIZE.per_shard
    assert_frame_equal(found.candidates(), plain(search))
    # What comes meanwhile is another moment's.
    shutil.copy(search.shard(1, "training", 1), search.shard(1, "training", 0))
    assert found.candidates().filter(generation=1)["status"].null_count() == SIZE.per_shard


def test_where_nothing_can_be_kept_all_is_read(search: SearchFolder) -> None:
    search.work().write_text("no folder")
    found = Summaries(search)
    assert_frame_equal(found.candidates(), plain(search))
    assert found.not_kept is not None


def test_who_is_beaten_at_once_is_not_on_the_front() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.random((400, 3)), rng.integers(0, 4, (400, 3)).astype(float), np.ones((5, 3))):
        points = pl.DataFrame(values, schema=["a", "val_bits_per_byte", "c"]).with_columns(violation=pl.lit(0.0))
        names = ["a", "val_bits_per_byte", "c"]
        beaten = views._beaten_at_once(points, names)
        front = [not any((q <= p).all() and (q < p).any() for q in values) for p in values]
        assert not any(is_beaten and on_front for is_beaten, on_front in zip(beaten, front, strict=True))
        assert len(values) < 10 or beaten.sum() > len(values) // 2
        assert views.front(points, names, constrained=False).height == sum(front)
