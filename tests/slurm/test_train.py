"""One training on several nodes: ranks from srun, a warning ahead of the end, and a rank that stands still."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from harmony_core.store import read_table, schemas
from tests.slurm.cluster import Cluster
from tests.slurm.processes import find_processes, has_variables
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
DATA = ("--data", "source=synthetic,max_bytes=60000")
RECIPE = "tokens={},batch_size=4,sequence_length=32,validation_tokens=256,precision=fp32"


@pytest.fixture
def nodes(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """The cluster, whose nodes' names only Slurm knows."""
    monkeypatch.setitem(cluster.environment, "MASTER_ADDR", "127.0.0.1")
    monkeypatch.setitem(cluster.environment, "OMP_NUM_THREADS", "1")
    return cluster


def profile(folder: Path) -> Path:
    """The slurm profile with one rank a node."""
    settings = yaml.safe_load((ROOT / "profiles/slurm/config.yaml").read_text())
    settings["set-resources"]["train"]["tasks_per_node"] = 1
    (folder / "mine").mkdir()
    (folder / "mine/config.yaml").write_text(yaml.safe_dump(settings))
    return folder / "mine"


def test_a_scaling_is_submitted_interrupted_and_goes_on(nodes: Cluster, tmp_path: Path) -> None:
    call = [sys.executable, "-m", "harmony_core", "scale", "llama-nano", "--gpus", "2", "--out", "results/weak", *DATA]
    call += ["--recipe", RECIPE.format(300 * 128), "--profile", str(profile(tmp_path)), "--submit"]

    def submit() -> str:
        done = subprocess.run(call, capture_output=True, text=True, cwd=tmp_path, env=nodes.environment, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.partition("job ")[2].split()[0]

    log = tmp_path / "results/weak/work/gpus2.log"
    first = submit()
    wait_until(lambda: log.exists() and "step 1/300" in log.read_text(), "the first step")
    nodes.run("scancel", "--signal=USR1", first)
    wait_until(lambda: nodes.job_states(first) == ["FAILED"], "the job to leave")
    assert "not finished: told to stop at step" in log.read_text()
    second = submit()
    nodes.wait_for_job(second, "COMPLETED")
    subprocess.run(call, cwd=tmp_path, env=nodes.environment, check=True, capture_output=True)
    (row,) = read_table(tmp_path / "results/weak/scaling.parquet", schemas.SCALING).to_dicts()
    assert (row["processes"], row["steps"], row["efficiency"]) == (2, 270, 1.0)


def test_a_rank_that_stands_still_ends_the_job(nodes: Cluster, tmp_path: Path) -> None:
    train = f"{sys.executable} -m harmony_core train llama-nano {' '.join(DATA)} --recipe {RECIPE.format(10**8)}"
    step = f"srun --kill-on-bad-exit=1 {train} --layout dp=2 --timeout-seconds 6"
    log = tmp_path / "log"
    asked = ("--nodes=2", "--ntasks-per-node=1", f"--output={log}", f"--chdir={tmp_path}")
    job = nodes.run("sbatch", "--parsable", *asked, f"--wrap={step}").strip()
    wait_until(lambda: log.exists() and "step 1/" in log.read_text(), "the first step")

    def is_rank_1(process: psutil.Process) -> bool:
        return has_variables(process, SLURM_JOB_ID=job, SLURM_PROCID="1") and "harmony_core" in process.cmdline()

    (rank,) = find_processes(is_rank_1)
    begin = time.monotonic()
    rank.send_signal(signal.SIGSTOP)
    wait_until(lambda: nodes.job_states(job) == ["FAILED"], "the job to end")
    assert time.monotonic() - begin < 6 * 4 / 3 + 30
    assert "rank 1 stood still" in log.read_text()
    wait_until(lambda: not find_processes(lambda process: has_variables(process, SLURM_JOB_ID=job)), "no rank left")
