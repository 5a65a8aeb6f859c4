"""`harmony top`, `show` and `report`, in files and pipes as on a terminal."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harmony_core.architecture import Architecture
from harmony_core.store import LATENCY, TRAINING, population, read_table, write_table
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


def test_measured_latencies_are_told_relative_to_the_reference(tmp_path: Path) -> None:
    search = MadeUpSearch(tmp_path, generations=1)
    search.prepare()
    # Slower ones learn better: all are on the front.
    search.finish(0, {one: (3.0 - 0.1 * one, 0.01 + 0.001 * one) for one in range(8)})
    files = search.folder
    losses = [{**row, "val_loss": 2.0} for row in read_table(files.shard(0, "training", 0), TRAINING).to_dicts()]
    write_table(files.shard(0, "training", 0), losses, TRAINING)
    rows = read_table(files.shard(0, "latency", 0), LATENCY).to_dicts()
    beside = {"source": "measured", "reference_seconds_median": 0.02, "relative": 0.5}
    told = [{**row, **beside, "marked": row["candidate"] == 3} for row in rows]
    write_table(files.shard(0, "latency", 0), told, LATENCY)
    # Anew, a larger one is as slow as a smaller one, which learns better.
    sizes = population(files).sort("candidate").collect()["num_active_params"].to_list()
    pair = next((one, other) for one, other in itertools.combinations(range(8), 2) if sizes[one] >= sizes[other])
    again = [row for row in told if row["mode"] == "prefill" and row["candidate"] in pair]
    write_table(
        files.shard(None, "latency", 0),
        [{**row, "generation": None, "latency_seconds": 0.03} for row in again],
        LATENCY,
    )
    top, front = (harmony(tmp_path, command, "toy") for command in ("top", "pareto"))
    assert "latency: prefill relative to llama-nano, called in turns with it" in top
    assert "later 20 ms to 20 ms); ~ marks 1 during which it moved by more than 10%" in top
    assert next(line.split()[3] for line in top.splitlines() if "~" in line) == "~13"
    header, *lines = front.splitlines()[1:]
    assert header.split()[3:5] == ["prefill", "again"]
    assert sum("30 ms" in line for line in lines) == 2
    assert "again: measured anew together with the baselines, in turns; 1 of 2 stay on the front" in front
    shown = harmony(tmp_path, "show", told[0]["architecture_id"], "--search", "results/toy")
    assert "prefill: 10 ms, 0.500 of the reference's (raw median" in shown


def test_show_gives_the_file_that_the_architecture_is_read_from(root: Path, tmp_path: Path) -> None:
    row = population(root / "results" / "toy").collect().row(3, named=True)
    (tmp_path / "found.yaml").write_text(harmony(root, "show", row["architecture_id"], "--yaml"))
    assert Architecture.from_yaml(tmp_path / "found.yaml").id == row["architecture_id"]
