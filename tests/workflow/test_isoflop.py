"""A sweep as a target of Snakemake: killed, it goes on to the rows of one that nobody disturbed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from harmony_core.cli.run import _execution
from harmony_core.scaling.config import IsoflopConfig
from harmony_core.scaling.sweep import Sweep
from harmony_core.workers import WarmPool
from tests.scaling.test_sweep import CONFIG, SMALL
from tests.workflow.compare import stable
from tests.workflow.conftest import harmony
from tests.workflow.test_resume import kill_everything, wait_for


def write(folder: Path, **changes: Any) -> Path:
    """The configuration of a sweep of one tiny architecture, whose rounds are none."""
    (folder / "small.yaml").write_text(SMALL)
    told = {**CONFIG, "architectures": ["small.yaml"], "rounds": 0, "execution": {"workers": 1}, **changes}
    (folder / "sweep.yaml").write_text(yaml.safe_dump(told))
    return folder / "sweep.yaml"


def journal(folder: Path) -> list[str]:
    """Keys of the trainings that have a final record, once for each record."""
    path = folder / "results" / "small" / "work" / "journal.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    records = [json.loads(line) for line in lines if line.endswith("\n")]
    return [record["key"] for record in records if record["event"] == "final"]


def rows(folder: Path) -> pl.DataFrame:
    """Of the sweep, without what differs between equal runs."""
    return stable(pl.read_parquet(folder / "results" / "small" / "runs.parquet"))


def undisturbed(folder: Path) -> pl.DataFrame:
    """The rows of the sweep when this process runs it."""
    folder.mkdir()
    config = IsoflopConfig.from_yaml(write(folder, architectures=[str(folder / "small.yaml")]))
    sweep = Sweep.open(config, folder / "results" / "small", lambda line: None)
    sweep.run(WarmPool(folder / "logs", workers=1), lambda *_: None)
    return rows(folder)


def test_a_standing_allocation_has_the_workers_that_the_sweep_asks_for(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "config.json").write_text('{"execution": {"workers": 2}}')
    assert _execution(tmp_path).workers == 2
    (tmp_path / "work" / "sweep.json").write_text(json.dumps({**CONFIG, "architectures": ["small.yaml"]}))
    assert _execution(tmp_path).workers is None


def test_a_killed_sweep_goes_on_to_the_same_rows(tmp_path: Path) -> None:
    write(tmp_path)
    call = [sys.executable, "-m", "harmony_core", "isoflop", "sweep.yaml", "--", "--cores", "1"]
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(call, cwd=tmp_path, stdout=quiet, stderr=quiet, start_new_session=True)
    wait_for(lambda: journal(tmp_path), process)
    kill_everything(process)
    process.wait()
    assert not (tmp_path / "results" / "small" / "laws.txt").exists()
    # Snakemake has left its lock, which the same command takes away.
    resumed = harmony(tmp_path, *call[3:])
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    keys = journal(tmp_path)
    assert len(keys) == len(set(keys)) > 1
    assert rows(tmp_path).equals(undisturbed(tmp_path / "undisturbed"))
    assert "exponent of params, small: not identified" in resumed.stdout
    # A finished sweep is only told again; one that may have more rounds has something to do.
    told = harmony(tmp_path, *call[3:])
    assert (told.returncode, journal(tmp_path)) == (0, keys)
    assert "exponent of params, small: not identified" in told.stdout
    write(tmp_path, rounds=1)
    more = harmony(tmp_path, *call[3:], "--dry-run")
    assert re.search(r"^isoflop +1$", more.stdout, flags=re.MULTILINE)
    changed = harmony(tmp_path, "isoflop", write(tmp_path, seed=1).name)
    assert (changed.returncode, changed.stderr.count("\n")) == (2, 1)
    assert "changed: seed 0 -> 1" in changed.stderr
