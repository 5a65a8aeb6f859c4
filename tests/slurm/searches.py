"""Searches on the test cluster: started, watched by what they write, struck, and compared with an undisturbed one."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.slurm.cluster import Cluster
from tests.waiting import PATIENCE, wait_until
from tests.workflow.compare import assert_same
from tests.workflow.conftest import ROOT, write_config

GENERATION = "results/tiny/generation=000"
SELECTION = f"{GENERATION}/selection.parquet"
# Two nodes with a rank each; the option replaces all of the profile's set-resources.
TWO_NODES = ("--set-resources", "train:nodes=2", "train:tasks_per_node=1", "train:launcher=srun")
ONE_RANK = ("--set-resources", "train:nodes=1", "train:tasks_per_node=1", "train:launcher=srun")
# A rank is missed after seconds, not minutes.
ONE_GENERATION: dict[str, dict[str, Any]] = {
    "search": {"generations": 1, "population": 6},
    "recipe": {"tokens": 24576},
    "execution": {"candidates_per_job": 6, "heartbeat_seconds": 0.5, "heartbeat_timeout_seconds": 4.0},
    "promote": {"top_k": 0, "baselines": []},
}


def command(folder: Path, *arguments: str, profile: str = "slurm") -> list[str]:
    """Snakemake on the search in `folder`, asking Slurm every second."""
    place = ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(folder)]
    config = ["--configfile", str(folder / "config.yaml")]
    asking = ["--seconds-between-status-checks", "1", "--submitit-query-seconds", "1", "--latency-wait", "10"]
    quick = asking if profile == "slurm" else []
    profiles = ["--profile", str(ROOT / "profiles" / profile)]
    # First the arguments: options that take several values would swallow a target that follows them.
    return [sys.executable, "-m", "snakemake", *arguments, *profiles, *place, *config, *quick]


class RunningSearch:
    """A search whose generation 0 is bred and is to be trained.

    Args:
        folder: a copy of the bred search.
        environment: the cluster's.
        arguments: of Snakemake, beside profile and place.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str], *arguments: str) -> None:
        self.folder, self._environment = folder, environment
        self._log = (folder / "snakemake.log").open("ab")
        self.main = subprocess.Popen(
            command(folder, *arguments),
            stdout=self._log,
            stderr=self._log,
            cwd=ROOT,
            env=dict(environment),
            start_new_session=True,
        )

    @property
    def said(self) -> str:
        """What Snakemake has printed."""
        return (self.folder / "snakemake.log").read_text()

    def journal(self) -> list[dict[str, Any]]:
        """Whole records of the training journals."""
        paths = sorted((self.folder / "results" / "tiny" / "work" / "training").rglob("journal.jsonl"))
        lines = [line for path in paths for line in path.read_text().splitlines(keepends=True)]
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def keys(self, event: str) -> list[str]:
        """The candidates of all records of one kind, in order."""
        return [record["key"] for record in self.journal() if record["event"] == event]

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        """Waits until something has happened; the search's end is a failure."""

        def happened() -> bool:
            assert self.main.poll() is None, f"the search ended before {what}:\n{self.said}"
            return bool(condition())

        wait_until(happened, what)

    def wait_until_training(self, finals: int = 1) -> None:
        """Waits until some candidates are done and others are under way."""

        def under_way() -> bool:
            over = {*self.keys("final")}
            return len(over) >= finals and any(key not in over for key in self.keys("begin"))

        self.wait_for(under_way, "candidates train")

    def processes(self, *words: str, node: str | None = None) -> list[psutil.Process]:
        """This search's processes whose command line has all words, oldest first; of one node if it is named."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                mine = str(self.folder) in line or process.cwd() == str(self.folder)
                if mine and all(word in line for word in words) and (node is None or _node(process) == node):
                    found.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return sorted(found, key=psutil.Process.create_time)

    def ranks(self) -> list[psutil.Process]:
        """The allocation's ranks, not their srun."""
        return [one for one in self.processes("-m harmony_core.workers") if "srun" not in one.name()]

    def batch_node(self) -> str:
        """The node of the batch process."""
        (feeder, *_) = self.processes("harmony_core run train")
        return _node(feeder)

    def job(self) -> str:
        """Slurm's id of the training job."""
        done = subprocess.run(
            ["squeue", "--noheader", "--format=%F", "--states=RUNNING,PENDING,SUSPENDED,COMPLETING"],
            capture_output=True, text=True, check=True, env=dict(self._environment),
        )  # fmt: skip
        (job, *_) = done.stdout.split()
        return job

    def ends_well(self, undisturbed: Path) -> None:
        """Waits for the end; results are those of the undisturbed search, nothing recorded twice, none lost."""
        try:
            status = self.main.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"the search did not end within {PATIENCE:g} s:\n{self.said}")
        self._log.close()
        assert status == 0, self.said
        self.check(undisturbed)

    def check(self, undisturbed: Path) -> None:
        """Results are those of the undisturbed search, nothing recorded twice, none lost."""
        assert_same(undisturbed / GENERATION, self.folder / GENERATION)
        finals = self.keys("final")
        assert len(finals) == len(set(finals)) == 6

    def stop(self) -> None:
        """Ends whatever of the search still runs on this host."""
        if self.main.poll() is None:
            self.main.kill()
        self.main.wait()
        self._log.close()
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


Begin = Callable[..., RunningSearch]
Strike = Callable[[RunningSearch, Cluster], None]


def strike_and_end_well(strike: Strike, begin: Begin, cluster: Cluster, undisturbed: Path) -> None:
    """A search that is struck while candidates train ends as if undisturbed."""
    search = begin()
    search.wait_until_training()
    strike(search, cluster)
    search.ends_well(undisturbed)


def kill_srun(search: RunningSearch, cluster: Cluster) -> None:
    """Kills the srun that holds the ranks, and the helper that it has."""
    for process in search.processes("srun", "-m harmony_core.workers"):
        # The helper ends by itself where the other one was quicker to die.
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()


def breed(folder: Path, **changes: dict[str, Any]) -> Path:
    """A search up to generation 0's population, made here; returns its folder."""
    folder.mkdir()
    write_config(folder, **{**ONE_GENERATION, **changes})
    population = f"{GENERATION}/population.parquet"
    subprocess.run(command(folder, population, profile="local"), check=True, cwd=ROOT, capture_output=True)
    return folder


def copy_search(bred: Path, folder: Path) -> Path:
    """A copy that may be struck."""
    return Path(shutil.copytree(bred, folder, symlinks=True))


def _node(process: psutil.Process) -> str:
    entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    return next((entry[16:].decode() for entry in entries if entry.startswith(b"SLURMD_NODENAME=")), "")
