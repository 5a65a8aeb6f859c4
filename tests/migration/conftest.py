"""Searches that HARMONY really wrote in format version 2 (`searches-v2/README.md`)."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from harmony_core.migration import migrate
from harmony_core.store import SearchFolder
from tests.cli.many_commands import answer

SEARCHES = Path(__file__).with_name("searches-v2")
NAMES = ("finished", "half-run", "promoted")

Completed = subprocess.CompletedProcess[str]


def harmony(*arguments: str | Path, cwd: Path) -> Completed:
    """Runs the command in `cwd`, in this process, which has imported all once."""
    words = [str(one) for one in arguments]
    with contextlib.chdir(cwd):
        found = answer(words)
    return Completed(words, found["code"], found["said"], found["told"])


def content(folder: Path) -> dict[str, str]:
    """A digest of every file, by its path."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def refused(done: Completed, *told: str) -> None:
    """Fails unless a command ended with one line that says all of this."""
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("error: ") == 1
    line = next(line for line in done.stderr.splitlines() if line.startswith("error: "))
    for one in told:
        assert one in line


@pytest.fixture
def old(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a search of version 2 into a folder of its own, as `results/NAME`."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(SEARCHES / name, tmp_path / "old" / "results" / name))

    return copy


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The migrated search of a name, as `results/NAME`; for those who change nothing in it."""
    root = tmp_path_factory.mktemp("new")

    def folder(name: str) -> Path:
        made = root / "results" / name
        if not made.exists():
            assert migrate(SearchFolder(SEARCHES / name), made) is not None
        return made

    return folder
