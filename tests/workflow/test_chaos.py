"""A search that is killed at random moments, again and again, ends as if nothing had happened (`make chaos`)."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.waiting import PATIENCE
from tests.workflow.compare import assert_same
from tests.workflow.conftest import harmony, write_config
from tests.workflow.test_resume import family, finals, kill, kill_everything, start

KILLS = 6


@pytest.mark.chaos
@pytest.mark.parametrize("seed", range(5))
def test_random_kills(finished: Path, tmp_path: Path, seed: int) -> None:
    generator = random.Random(seed)
    config = write_config(tmp_path, execution={"candidates_per_job": 4, "attempts": 100})
    process = start(tmp_path, config)
    for _ in range(KILLS):
        try:
            process.wait(timeout=generator.uniform(1.0, 12.0))
            break
        except subprocess.TimeoutExpired:
            strike(process, generator)
            process.wait()
            process = resume(tmp_path)
    assert process.wait(timeout=PATIENCE) == 0
    assert_same(finished / "results" / "tiny", tmp_path / "results" / "tiny")
    keys = finals(tmp_path)
    assert len(keys) == len(set(keys))


def strike(process: subprocess.Popen[bytes], generator: random.Random) -> None:
    """Kills everything, or the main process and a random part of its children."""
    if generator.random() < 0.3:
        kill_everything(process)
        return
    children = family(process)
    kill(generator.sample(children, generator.randint(0, len(children))))
    process.kill()


def resume(folder: Path) -> subprocess.Popen[bytes]:
    """Resumes in the background; where not even the start was recorded, starts anew."""
    if not (folder / "results" / "tiny" / "work" / "config.json").exists():
        return start(folder, folder / "config.yaml")
    call = [sys.executable, "-m", "harmony_core", "resume", "results/tiny"]
    quiet = subprocess.DEVNULL
    return subprocess.Popen(call, cwd=folder, stdout=quiet, stderr=quiet, start_new_session=True)


def test_resume_without_a_search_says_so(tmp_path: Path) -> None:
    done = harmony(tmp_path, "resume", "results/tiny")
    assert done.returncode == 2
    assert "no such search" in done.stderr
