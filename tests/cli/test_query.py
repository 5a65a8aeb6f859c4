"""`harmony top`, `show` and `report`, in files and pipes as on a terminal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.architecture import Architecture
from harmony_core.store import population
from tests.progress.searches import MadeUpSearch

OK = range(6)
VALUES: dict[int, tuple[float | None, float]] = {one: (3.0 - 0.1 * one, 0.01 + 0.001 * one) for one in OK}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of one generation in which two of eight candidates diverged."""
    root = tmp_path_factory.mktemp("made-up")
    search = MadeUpSearch(root, generations=1)
    search.prepare("installed-python")
    search.finish(0, {**VALUES, 6: (None, 0.02), 7: (None, 0.02)})
    return root


def harmony(root: Path, *arguments: str) -> str:
    call = [sys.executable, "-m", "harmony_core", *arguments]
    # Not the C library's environment, in which readline leaves a width of its own.
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    done = subprocess.run(call, capture_output=True, text=True, check=False, cwd=root, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_pipe_gets_a_line_a_candidate_and_how_many_failed(root: Path) -> None:
    lines = harmony(root, "top", "toy").splitlines()
    patterns = population(root / "results" / "toy").collect()["pattern"].to_list()
    best_first = [patterns[number] for number in reversed(OK)]
    assert [line.split()[-1] for line in lines[2:8]] == best_first
    assert lines[8:] == ["failed: 2 diverged"]


def test_show_gives_the_file_that_the_architecture_is_read_from(root: Path, tmp_path: Path) -> None:
    row = population(root / "results" / "toy").collect().row(3, named=True)
    (tmp_path / "found.yaml").write_text(harmony(root, "show", row["architecture_id"], "--yaml"))
    assert Architecture.from_yaml(tmp_path / "found.yaml").id == row["architecture_id"]
