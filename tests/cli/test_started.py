"""The record of a search's start: whose it is, what it becomes in another place, and damage to it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_core.cli import started
from harmony_core.cli.resume import resume
from harmony_core.cli.started import Start, adopted, recorded
from harmony_core.errors import UserError
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder
from harmony_core.workers.lease import Lease
from tests.damage import damaged, refused, several
from tests.progress.searches import MadeUpSearch

VALUES: dict[int, tuple[float | None, float]] = {one: (3.0 - 0.1 * one, 0.01) for one in range(8)}


@pytest.fixture
def search(tmp_path: Path) -> Iterator[MadeUpSearch]:
    """A finished search in `there/results/toy`, as it was started."""
    made = MadeUpSearch(tmp_path / "there", generations=1)
    made.prepare()
    made.finish(0, VALUES)
    made.record_start()
    there = str(tmp_path / "there")
    options = ["--directory", there, f"--configfile={there}/mine.yaml", "--profile", "local", "-j", "2"]
    made.folder.main.write_text(json.dumps({"arguments": options, "folder": there}))
    yield made
    made.end()


def copied(search: MadeUpSearch, tmp_path: Path, name: str = "here/results/toy") -> SearchFolder:
    return SearchFolder(shutil.copytree(search.folder.path, tmp_path / name))


def test_it_is_its_own_by_any_path(search: MadeUpSearch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(search.folder.path)
    assert recorded(search.folder).is_of(search.folder)
    assert recorded(search.folder).is_of(SearchFolder(tmp_path / "link"))


@pytest.mark.parametrize("name", ["here/results/toy", "there/results/toy-copy"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_copy_is_refused_with_both_names(search: MadeUpSearch, tmp_path: Path, name: str, keep: bool) -> None:
    copy = copied(search, tmp_path, name)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if not keep:
        shutil.rmtree(search.folder.path)
    with pytest.raises(UserError) as told:
        resume(copy.path)
    assert f"search: {tmp_path / name}: it ran as {tmp_path}/there/results/toy" in str(told.value)
    assert "--adopt" in told.value.fix
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert after == {path: content for path, content in before.items() if path.exists()}


def test_an_adopted_copy_is_tied_to_its_new_place(search: MadeUpSearch, tmp_path: Path) -> None:
    copy = copied(search, tmp_path)
    start = adopted(copy, recorded(copy))
    assert start.folder == tmp_path / "here"
    assert start.is_of(copy)
    assert start.arguments[:6] == (
        *("--directory", f"{tmp_path}/here"),
        f"--configfile={tmp_path}/here/mine.yaml",
        *("--profile", "local", "-j"),
    )
    # The last one counts, and is in the search itself.
    assert start.arguments[7:9] == ("--configfile", "results/toy/work/config.json")
    assert Config.from_yaml(copy.config).identity() == search.config.identity()


def test_an_adopted_copy_is_from_then_on_at_home(
    search: MadeUpSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where Snakemake, which would record its start, has nothing to do."""
    monkeypatch.setattr("harmony_core.cli.resume.go_on", lambda start, folder: None)
    copy = copied(search, tmp_path)
    resume(copy.path, adopt=True, profile="slurm")
    again = recorded(copy)
    assert again.is_of(copy)
    assert again.arguments[-2] == "--profile"
    assert Path(again.arguments[-1]).name == "slurm"
    resume(copy.path)
    assert recorded(copy) == again


def test_an_adopted_copys_files_are_in_the_order_of_their_making(search: MadeUpSearch, tmp_path: Path) -> None:
    copy = copied(search, tmp_path)
    os.utime(copy.manifest, ns=(2**61, 2**61))
    adopted(copy, recorded(copy))
    for path in copy.generation(0).rglob("*.parquet"):
        assert path.stat().st_mtime_ns == 2**61


def test_a_copy_under_another_name_is_not_adopted(search: MadeUpSearch, tmp_path: Path) -> None:
    copy = copied(search, tmp_path, "here/results/mine")
    with pytest.raises(UserError, match=r"results/mine, which ran as .*/results/toy: a search keeps its name"):
        adopted(copy, recorded(copy))


def test_a_lease_that_is_touched_is_somebodys_and_one_that_is_copied_nobodys(
    search: MadeUpSearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(started, "BEAT_SECONDS", 0.2)
    monkeypatch.setattr(started, "_WATCHED_SECONDS", 1.0)
    with Lease(search.folder.work("main.lease"), beat_seconds=0.1):
        # Its holder lives: by its number alone it would hold the copy too.
        copy = copied(search, tmp_path)
        adopted(copy, recorded(copy))
        assert Lease(copy.work("main.lease")).holder() is None
    with Lease(copy.work("main.lease"), beat_seconds=0.1), pytest.raises(UserError, match="somebody works on it"):
        adopted(copy, recorded(search.folder))


@several
@given(data=st.data())
def test_a_damaged_record_is_refused_or_can_be_run(search: MadeUpSearch, data: st.DataObject) -> None:
    whole = json.dumps({"arguments": ["--profile", "local", "é"], "folder": "/there"}, ensure_ascii=False).encode()
    folder = SearchFolder(search.folder.path / "damaged")
    folder.main.parent.mkdir(parents=True, exist_ok=True)
    folder.main.write_bytes(data.draw(damaged(whole)))
    try:
        start = recorded(folder)
    except UserError as told:
        refused(told, folder.main)
        return
    for text in (*start.arguments, str(start.folder)):
        assert "\0" not in text
        text.encode(errors="surrogateescape")


def test_options_and_targets_stand_where_snakemake_finds_them() -> None:
    start = Start(Path("/there"), ("--configfile", "a.yaml"), "toy")
    assert start.with_options("--unlock") == ["--configfile", "a.yaml", "--unlock"]
    # A configuration file is any number of words.
    assert start.with_targets(["one"]) == ["--configfile", "a.yaml", "--", "one"]
    ended = Start(Path("/there"), ("-j1", "--", "one"), "toy")
    assert ended.with_options("--unlock") == ["-j1", "--unlock", "--", "one"]
    assert ended.with_targets(["two"]) == ["-j1", "--", "one", "two"]
