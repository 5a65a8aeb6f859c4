"""A migration that is killed at any moment goes on by the same command, and ends as if nothing had been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.migration import migrate
from harmony_core.store import LATENCY, SearchFolder, read_table, write_table
from tests.migration.conftest import content, harmony, refused

Migrated = Callable[[str], Path]
Old = Callable[[str], Path]

# Runs the command and is killed (SIGKILL) in place of a file's renaming, with its temporary written.
KILLED = """
import os, signal, sys
from harmony_core.cli.main import main
real, left = os.replace, int(sys.argv.pop(1))
def replace(*arguments, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **options)
os.replace = replace
main()
"""

KILLED_WITHIN_A_COPY = """
import os, pathlib, shutil, signal, sys
from harmony_core.migration import migrate
from harmony_core.store import SearchFolder
def copyfile(source, target):
    content = pathlib.Path(source).read_bytes()
    pathlib.Path(target).write_bytes(content[: len(content) // 2])
    os.kill(os.getpid(), signal.SIGKILL)
shutil.copyfile = copyfile
migrate(SearchFolder(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""
KILLED_AT_THE_END = """
import os, pathlib, signal, sys
from harmony_core.migration import folder
from harmony_core.store import SearchFolder
folder._end = lambda destination: os.kill(os.getpid(), signal.SIGKILL)
folder.migrate(SearchFolder(sys.argv[1]), pathlib.Path(sys.argv[2]))
"""


def killed_after(files: int, source: Path, destination: Path) -> int:
    call = [sys.executable, "-c", KILLED, str(files), "migrate", str(source), str(destination)]
    return subprocess.run(call, capture_output=True, text=True, check=False).returncode


@pytest.mark.parametrize("name", ["half-run", "promoted"])
def test_killed_again_and_again_it_ends_as_undisturbed(name: str, migrated: Migrated, old: Old, tmp_path: Path) -> None:
    source, destination = old(name), tmp_path / "new"
    before = content(source)
    kills = 0
    while (code := killed_after(6, source, destination)) != 0:
        assert code == -signal.SIGKILL
        assert not (destination / "manifest.json").exists()
        assert list(destination.rglob(".*.tmp"))
        kills += 1
        assert kills < 20, "nothing of what was written is kept"
    assert kills >= 3
    assert content(destination) == content(migrated(name))
    assert content(source) == before


def test_killed_once_it_is_no_search_yet_and_says_so(old: Old, tmp_path: Path) -> None:
    source, destination = old("finished"), tmp_path / "results" / "new"
    assert killed_after(12, source, destination) == -signal.SIGKILL
    refused(harmony("top", destination, cwd=tmp_path), "half migrated", "`harmony migrate` with the same two folders")
    refused(harmony("resume", "new", cwd=tmp_path), "half migrated")


def test_killed_while_it_marks_the_folder_it_goes_on(migrated: Migrated, old: Old, tmp_path: Path) -> None:
    source, destination = old("finished"), tmp_path / "new"
    assert killed_after(0, source, destination) == -signal.SIGKILL
    assert len(content(destination)) == 1
    assert migrate(SearchFolder(source), destination) is not None
    assert content(destination) == content(migrated("finished"))


def test_half_a_copy_is_none(migrated: Migrated, old: Old, tmp_path: Path) -> None:
    source, destination = old("finished"), tmp_path / "new"
    call = [sys.executable, "-c", KILLED_WITHIN_A_COPY, str(source), str(destination)]
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    assert migrate(SearchFolder(source), destination) is not None
    assert content(destination) == content(migrated("finished"))


def test_killed_before_the_mark_is_gone_it_is_whole(migrated: Migrated, old: Old, tmp_path: Path) -> None:
    """The manifest is there by then; the same command takes the mark away."""
    source, destination = old("finished"), tmp_path / "new"
    call = [sys.executable, "-c", KILLED_AT_THE_END, str(source), str(destination)]
    assert subprocess.run(call, check=False).returncode == -signal.SIGKILL
    assert (destination / "migration.json").exists()
    assert harmony("top", destination, cwd=tmp_path).returncode == 0
    assert migrate(SearchFolder(source), destination) is not None
    assert content(destination) == content(migrated("finished"))


def half_done(source: Path, destination: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that has written everything but the manifest."""
    with monkeypatch.context() as patch:
        patch.setattr("harmony_core.migration.folder.write_manifest", lambda *_: None)
        patch.setattr("harmony_core.migration.folder.same_time", lambda *_: None)
        patch.setattr("harmony_core.migration.folder._end", lambda *_: None)
        migrate(SearchFolder(source), destination)
    assert (destination / "migration.json").exists()
    assert not (destination / "manifest.json").exists()


@pytest.mark.parametrize("kind", ["loss", "journal", "copy"])
def test_what_was_written_wrong_is_found(kind: str, old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = old("finished"), tmp_path / "new"
    half_done(source, destination, monkeypatch)
    if kind == "loss":
        path = destination / "generation=001" / "latency" / "shard=000.parquet"
        rows = read_table(path, LATENCY).to_dicts()
        rows[1]["seconds_p90"] *= 1 + 2**-50
        write_table(path, rows, LATENCY)
    elif kind == "journal":
        path = destination / "work" / "training" / "generation=001" / "shard=000" / "journal.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"rate":0', b'"rate":1', 1))
    else:
        path = destination / "data.json"
        path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(UserError, match="delete the new folder and migrate again") as raised:
        migrate(SearchFolder(source), destination)
    assert raised.value.field == str(path)
    assert not (destination / "manifest.json").exists()


def test_a_search_that_changes_meanwhile_is_found(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, destination = old("finished"), tmp_path / "new"
    half_done(source, destination, monkeypatch)
    path = source / "generation=001" / "selection.parquet"
    path.write_bytes((source / "generation=000" / "selection.parquet").read_bytes())
    with pytest.raises(UserError, match=r"not what .*selection\.parquet holds"):
        migrate(SearchFolder(source), destination)


def test_the_mark_of_another_search_is_refused(old: Old, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = tmp_path / "new"
    half_done(old("finished"), destination, monkeypatch)
    before = content(destination)
    with pytest.raises(UserError, match="another search is being migrated there"):
        migrate(SearchFolder(old("half-run")), destination)
    (destination / "migration.json").write_text(json.dumps([]))
    with pytest.raises(UserError, match="another search is being migrated there"):
        migrate(SearchFolder(tmp_path / "old" / "results" / "finished"), destination)
    (destination / "migration.json").unlink()
    with pytest.raises(UserError, match="not empty"):
        migrate(SearchFolder(tmp_path / "old" / "results" / "finished"), destination)
    assert content(destination) == {name: one for name, one in before.items() if name != "migration.json"}
