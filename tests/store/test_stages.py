"""Which files a search must have by now: named when they are gone, and not before they are due."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.store import SearchFolder, missing, missing_lines, stages
from tests.progress.searches import MadeUpSearch

VALUES: dict[int, tuple[float | None, float]] = {one: (3.0 - 0.1 * one, 0.01) for one in range(8)}


@pytest.fixture
def search(tmp_path: Path) -> Iterator[MadeUpSearch]:
    """Two generations of two shards, finished."""
    made = MadeUpSearch(tmp_path)
    made.prepare()
    for generation in (0, 1):
        made.finish(generation, VALUES)
    yield made
    made.end()


def names(folder: SearchFolder) -> list[str]:
    return [str(path.relative_to(folder.path)) for path in missing(folder)]


def test_a_finished_search_lacks_nothing(search: MadeUpSearch) -> None:
    assert names(search.folder) == []


@pytest.mark.parametrize(
    "gone",
    [
        "generation=000/population.parquet",
        "generation=000/ledger.parquet",
        "generation=000/selection.parquet",
        "generation=000/training/shard=001.parquet",
        "generation=001/training/shard=000.parquet",
        "generation=001/curves/shard=001.parquet",
        "generation=001/latency/shard=000.parquet",
        "generation=001/population.parquet",
    ],
)
def test_a_deleted_file_is_named(search: MadeUpSearch, gone: str) -> None:
    (search.folder.path / gone).unlink()
    assert names(search.folder) == [gone]
    (line,) = missing_lines(search.folder)
    assert line == f"missing: {search.folder.path / gone}; `harmony resume {search.folder.path}` makes it again"


def test_all_of_a_generation_is_missed_for_the_one_bred_from_it(search: MadeUpSearch) -> None:
    for path in sorted(search.folder.generation(0).rglob("*.parquet")):
        path.unlink()
    assert len(names(search.folder)) == 9


def test_many_missing_files_are_a_screen_and_a_number(search: MadeUpSearch) -> None:
    for path in search.folder.path.rglob("training/*.parquet"):
        path.unlink()
    for path in search.folder.path.rglob("curves/*.parquet"):
        path.unlink()
    for path in search.folder.path.rglob("latency/*.parquet"):
        path.unlink()
    lines = missing_lines(search.folder)
    assert len(lines) == 11
    assert lines[-1] == "missing: 2 more"


def test_what_is_under_way_is_not_missed(tmp_path: Path) -> None:
    made = MadeUpSearch(tmp_path)
    made.prepare()
    assert names(made.folder) == []
    made.breed(0)
    assert names(made.folder) == []
    made.close(0, {one: VALUES[one] for one in range(4)})
    assert names(made.folder) == []


def test_promotion_is_missed_once_it_was_reported(tmp_path: Path) -> None:
    made = MadeUpSearch(tmp_path, {"promote": {"top_k": 1}}, generations=1)
    made.prepare()
    made.finish(0, VALUES)
    made.promote()
    page = made.folder.report / "index.html"
    assert names(made.folder) == []
    page.parent.mkdir()
    page.touch()
    assert names(made.folder) == [f"promoted/shard=000/{table}.parquet" for table in ("training", "curves", "latency")]
    # A report from before the last generations, which promotion has not come to yet.
    os.utime(page, ns=(0, 0))
    assert names(made.folder) == []


def test_a_training_by_hand_lacks_no_ledger(tmp_path: Path) -> None:
    made = MadeUpSearch(tmp_path, generations=1)
    made.prepare()
    made.breed(0)
    made.folder.ledger(0).unlink()
    made.close(0, {0: VALUES[0]})
    assert names(made.folder) == []


def test_a_search_without_its_manifest_says_so(search: MadeUpSearch) -> None:
    search.folder.manifest.unlink()
    with pytest.raises(UserError, match=r"manifest\.json: missing: restore it"):
        SearchFolder.find(search.folder.path)


def test_a_file_made_again_is_older_than_what_was_made_from_it(search: MadeUpSearch) -> None:
    folder = search.folder
    again = folder.shard(0, "training", 1)
    os.utime(again)
    (stage,) = [one for one in stages(folder) if again in one.made]
    stage.settle_times([again])
    assert folder.population(0).stat().st_mtime_ns == again.stat().st_mtime_ns
    assert again.stat().st_mtime_ns <= folder.selection(0).stat().st_mtime_ns
