"""`harmony doctor` against a Slurm that answers for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony_core.site import Profile, Site
from harmony_core.site.scheduler_checks import check_slurm
from harmony_core.slurm.client import Slurm
from tests.slurm.accounting import ACCOUNT
from tests.slurm.cluster import Cluster

ROOT = Path(__file__).parents[2]
CONFIG = "search: {name: doctor-slurm-test}\nspace: nano\ndata: {source: synthetic}\n"


@pytest.fixture
def folder(clone: Path, tmp_path: Path) -> Path:
    (tmp_path / "mine.yaml").write_text(CONFIG)
    (tmp_path / "root").symlink_to(clone)
    return tmp_path


def doctor(cluster: Cluster, folder: Path, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    """Runs the doctor on the slurm profile; `changes` are resources of `train`, or settings if there is a `-`."""
    profile = yaml.safe_load((ROOT / "profiles" / "slurm" / "config.yaml").read_text())
    profile["submitit-folder"] = str(folder / "jobs")
    for name, value in changes.items():
        if "-" in name:
            profile[name] = value
        else:
            profile["set-resources"]["train"][name] = value
    (folder / "mine").mkdir(exist_ok=True)
    (folder / "mine" / "config.yaml").write_text(yaml.safe_dump(profile))
    call = [sys.executable, "-m", "harmony_core", "doctor", "--profile", str(folder / "mine")]
    call += ["--configfile", str(folder / "mine.yaml"), *arguments]
    environment = {**os.environ, **cluster.environment}
    environment.pop("SBATCH_ACCOUNT", None)
    return subprocess.run(call, capture_output=True, text=True, check=False, cwd=folder / "root", env=environment)


def told(done: subprocess.CompletedProcess[str], verdict: str = "missing") -> list[str]:
    return [line.removeprefix(verdict).strip() for line in done.stdout.splitlines() if line.startswith(f"{verdict} ")]


def test_the_profile_as_it_is_fits_a_plain_cluster(cluster: Cluster, folder: Path) -> None:
    done = doctor(cluster, folder, "--probe")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ok      train, scheduler: would take the job" in done.stdout
    assert f"sees {folder}/jobs" in done.stdout
    assert told(done, "warning") == []
    assert cluster.run("squeue", "--noheader") == ""
    assert list((folder / "jobs").iterdir()) == []


def checked(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, **resources: Any) -> list[str]:
    """What is not well with a rule of these resources, without starting a whole doctor."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SBATCH_ACCOUNT", raising=False)
    values = {"executor": "submitit", "set-resources": {"train": {"runtime": 10, **resources}}}
    profile = Profile(name="mine", path=Path("mine/config.yaml"), values=values)
    found = check_slurm(Slurm(), profile, Site(name="mine", source="a test"))
    return [f"{finding.verdict} {finding.line}" for finding in found if finding.verdict != "ok"]


@pytest.mark.parametrize(
    ("resources", "line"),
    [
        ({"slurm_partition": "nope"}, "partition: 'nope' does not exist; set slurm_partition to one of main, spare"),
        ({"gpus_per_node": 9}, "nodes: 9 GPUs a node, but none in 'main' has more than 8; lower gpus"),
        ({"tasks_per_node": 65}, "nodes: 65 CPUs a node, but none in 'main' has more than 64; lower tasks_per_node"),
        ({"nodes": 5}, "nodes: 5 with 1 CPUs, but 'main' has 4; set nodes to 4 or less"),
        ({"constraint": "nvme"}, "nodes: none in 'main' has the feature 'nvme'"),
        ({"slurm_extra": "--reservation=nope"}, "scheduler: would refuse the job: "),
    ],
)
def test_what_the_cluster_does_not_have(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, resources: dict[str, Any], line: str
) -> None:
    (found,) = checked(cluster, monkeypatch, **resources)
    assert found.startswith(f"missing train, {line}")


def test_what_the_doctor_says_of_it(cluster: Cluster, folder: Path) -> None:
    changes = {"submitit-folder": "/proc/jobs", "submitit-setup": "module load nope/1", "slurm_partition": "nope"}
    done = doctor(cluster, folder, **changes)
    assert done.returncode == 2
    assert [line.split(":")[0] for line in told(done)] == ["job folder", "modules", "train, partition"]
    assert done.stderr == ""


def test_nodes_that_are_down_are_waited_for(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.node_down("n1")
    lines = checked(cluster, monkeypatch, nodes=4)
    assert lines[0].startswith("warning train, nodes: 4 with 1 CPUs, but only 3 of 4 are in service now")
    assert [line.split()[0] for line in lines[1:]] == ["warning"]


def test_a_controller_that_is_gone(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.stop_slurmctld()
    (line,) = checked(cluster, monkeypatch)
    assert line.startswith("missing slurm: the controller does not answer: ")


def test_a_setup_that_fails_is_seen_by_the_probe(cluster: Cluster, folder: Path) -> None:
    done = doctor(cluster, folder, "--probe", **{"submitit-setup": "echo no such file system; exit 1"})
    assert done.returncode == 2
    assert told(done) == [
        f"probe: the job failed: no such file system; correct that, or submitit-setup in {folder}/mine/config.yaml"
    ]


def test_a_probe_that_nobody_runs_is_taken_back(cluster: Cluster, folder: Path) -> None:
    blocker = cluster.submit("sleep 600", "--nodes=4", "--exclusive")
    cluster.wait_for_job(blocker, "RUNNING")
    done = doctor(cluster, folder, "--probe", "--probe-seconds", "2")
    assert done.returncode == 0
    assert told(done, "warning") == ["probe: no node within 2 s; try again with a higher --probe-seconds"]
    assert cluster.run("squeue", "--noheader", "--format=%A").split() == [blocker]


def test_accounts_are_known_where_there_is_accounting(
    accounting_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    (line,) = checked(accounting_cluster, monkeypatch, slurm_account="nope")
    told_first, accounts = line.split("; use one of ")
    assert told_first == "missing train, account: 'nope' is not one of yours"
    assert ACCOUNT in accounts.split(", ")
    (line,) = checked(accounting_cluster, monkeypatch, qos="nope")
    assert line == "missing train, qos: 'nope' does not exist here; use one of normal"
    assert checked(accounting_cluster, monkeypatch, slurm_account=ACCOUNT, qos="normal") == []


def test_a_site_without_accounting_cannot_tell(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = checked(cluster, monkeypatch, slurm_account="nope")
    assert line.startswith("unknown train, account: 'nope' cannot be checked here")
