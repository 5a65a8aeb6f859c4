"""Ids: which search is meant, and what is said where several have one or one cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_core.cli.candidate import find_candidate, find_promoted
from harmony_core.errors import UserError
from harmony_core.store import population
from tests.progress.searches import MadeUpSearch


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two searches of one seed, whose generations 0 are the same; only the second one promoted."""
    for name in ("first", "second"):
        made = MadeUpSearch(tmp_path, name=name)
        made.prepare()
        made.breed(0)
    made.promote()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def the_id(candidate: int) -> str:
    found: str = population("first").collect().row(candidate, named=True)["architecture_id"]
    return found


def test_an_id_of_several_searches_lists_them(root: Path) -> None:
    one = the_id(0)
    with pytest.raises(UserError, match=f"ID: {one}: is in 2 searches; write one of first/{one}, second/{one}"):
        find_candidate(one, None)


@pytest.mark.parametrize("name", ["first", "second", "results/second"])
def test_a_search_may_be_written_before_the_id(root: Path, name: str) -> None:
    folder, row = find_candidate(f"{name}/{the_id(0)[:10]}", None)
    assert folder.name == Path(name).name
    assert row["architecture_id"] == the_id(0)
    assert find_candidate(the_id(0), Path(name))[0] == folder


def test_a_search_is_written_once(root: Path) -> None:
    with pytest.raises(UserError, match="leave one out"):
        find_candidate(f"first/{the_id(0)}", Path("second"))


def test_an_unknown_search_and_an_unknown_id_are_told(root: Path) -> None:
    with pytest.raises(UserError, match="search: third: no such search"):
        find_candidate(f"third/{the_id(0)}", None)
    with pytest.raises(UserError, match="ID: first/xyz: no candidate has this id"):
        find_candidate("first/xyz", None)


def test_the_first_digits_of_several_ids_are_not_enough(root: Path) -> None:
    with pytest.raises(UserError, match=r"begins 8 ids .* and 4 more\); give more digits"):
        find_candidate("first/", None)


def test_one_that_only_one_search_promoted_is_that_one(root: Path) -> None:
    folder, row = find_promoted(the_id(0), None)
    assert folder.name == "second"
    assert row["generation"] is None
    with pytest.raises(UserError, match="first did not promote it"):
        find_promoted(f"first/{the_id(0)}", None)


def test_one_corrupt_search_hides_no_other(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, damaged = the_id(0), "generation=000/population.parquet"
    path = root / "results" / "first" / damaged
    path.write_bytes(path.read_bytes()[:100])
    assert find_candidate(one, None)[0].name == "second"
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"not looked into: search first: results/first/{damaged}: ")
    with pytest.raises(UserError, match=r"no candidate has this id \(first could not be read\)"):
        find_candidate("xyz", None)
