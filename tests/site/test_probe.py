"""The job that looks at a node: what it is sent, and what its answers mean."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harmony_core.errors import UserError
from harmony_core.site import JobRequest, Profile, Site
from harmony_core.site.environment import TOLD, installed
from harmony_core.site.node_report import report
from harmony_core.site.probe import check_node, judge, refuse_local, script
from harmony_core.slurm.command import TOO_LATE, Answer

SITE = Site(name="mine", source="a test", variables=("NCCL_NET",))
FORK = {"device": "cuda:0"}
HERE = {name: version for name, version in installed().items() if name in TOLD}


def profile(folder: Path, **values: Any) -> Profile:
    rules = {"train": {"nodes": 9, "runtime": 120, "tasks_per_node": 8, "srun_flags": "--gpus-per-task=1"}}
    given = {"executor": "submitit", "submitit-folder": str(folder), "submitit-setup": "echo set up", **values}
    return Profile(name="mine", path=Path("mine/config.yaml"), values={"set-resources": rules, **given})


def told(**changes: Any) -> dict[str, Any]:
    found = {"node": "n1", "time": 50.0, "python": "python", "versions": HERE, "devices": 1, "unset": []}
    return {**found, "fork": FORK, **changes}


class Scheduler:
    """Takes the probe, and does to its folder what the job would."""

    def __init__(self, answer: Answer, log: str = "", report: dict[str, Any] | None = None) -> None:
        self.answer, self.log, self.report = answer, log, report
        self.asked: list[list[str]] = []
        self.batch = ""

    def __call__(self, command: Sequence[str], limit: float = 0.0) -> Answer:
        self.asked.append(list(command))
        if command[0] == "scancel":
            return Answer(0)
        self.batch = Path(command[-1]).read_text()
        folder = Path(command[-1]).parent
        if self.log:
            (folder / "log").write_text(self.log)
        if self.report:
            (folder / "answer.json").write_text(json.dumps(self.report))
        return self.answer


def test_a_job_begins_as_every_job_does(tmp_path: Path) -> None:
    text = script(profile(tmp_path), SITE, JobRequest(name="train", cpus_per_task=7), tmp_path / "a b")
    assert text.splitlines() == [
        "#!/bin/bash",
        "echo set up",
        f'srun --nodes=1 --ntasks=1 --cpus-per-task=7 --gpus-per-task=1 "${{HARMONY_PYTHON:-{sys.executable}}}"'
        f" -m harmony_core.site.node_report '{tmp_path}/a b' NCCL_NET",
    ]


def test_a_node_that_answers(tmp_path: Path) -> None:
    scheduler = Scheduler(Answer(0), report=told(time=0.0))
    first, *others = check_node(profile(tmp_path / "jobs"), SITE, scheduler)
    assert first.line == f"probe: n1 sees {tmp_path}/jobs, 1 GPUs of its own for one task"
    assert [finding.subject for finding in others] == ["ranks' python", "fork", "clocks"]
    sbatch, scancel = scheduler.asked
    assert {"--wait", "--nodes=1", "--time=5", "--ntasks-per-node=8"} <= set(sbatch)
    assert scancel[0] == "scancel"
    assert f"--job-name={scancel[1].removeprefix('--name=')}" in sbatch
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_torch_that_sees_no_gpu_is_missing_where_jobs_ask_for_them(tmp_path: Path) -> None:
    scheduler = Scheduler(Answer(0), report=told(time=0.0, devices=0))
    found = {finding.subject: finding for finding in check_node(profile(tmp_path / "jobs"), SITE, scheduler)}
    assert found["GPUs"].verdict == "missing"
    assert f"torch {HERE['torch']} sees none on n1" in found["GPUs"].line
    on_cpus = profile(tmp_path / "jobs", **{"set-resources": {"train": {"nodes": 1}}})
    assert "GPUs" not in {finding.subject for finding in check_node(on_cpus, SITE, scheduler)}


def test_a_node_forks_after_the_preload_and_computes(tmp_path: Path) -> None:
    assert report(tmp_path, [])["fork"] == {"device": "cpu"}


@pytest.mark.parametrize(
    ("answer", "log", "verdict", "said"),
    [
        (Answer(1), "module: x\nsetup: sbcast failed\n", "missing", "the job failed: setup: sbcast failed"),
        (Answer(1), "", "missing", "may not be shared"),
        (Answer(TOO_LATE), "", "warning", "no node within 3 s"),
    ],
)
def test_a_node_that_does_not(tmp_path: Path, answer: Answer, log: str, verdict: str, said: str) -> None:
    scheduler = Scheduler(answer, log)
    (finding,) = check_node(profile(tmp_path / "jobs"), SITE, scheduler, limit=3)
    assert finding.verdict == verdict
    assert said in finding.line
    assert scheduler.asked[-1][0] == "scancel"


def test_a_folder_that_cannot_be_made() -> None:
    (finding,) = check_node(profile(Path("/proc/jobs")), SITE, Scheduler(Answer(0)))
    assert (finding.verdict, "/proc/jobs" in finding.line) == ("missing", True)


@pytest.mark.parametrize(
    ("changes", "verdict", "said"),
    [
        ({"versions": {**HERE, "torch": "1.0"}}, "missing", "torch 1.0, here "),
        ({"versions": {}}, "missing", "torch None, here "),
        ({"unset": ["NCCL_NET"]}, "missing", "NCCL_NET not set on the node"),
        ({"fork": {"error": "exit code 1: cannot re-initialize"}}, "missing", "n1 failed: exit code 1: cannot"),
        ({"fork": {"device": "cpu"}}, "missing", "n1 computes on the CPU, and torch sees 1 GPUs"),
        ({"time": 30.0}, "warning", "n1 is at least 10 s apart"),
        ({"time": 90.0}, "warning", "n1 is at least 30 s apart"),
    ],
)
def test_what_a_report_means(changes: dict[str, Any], verdict: str, said: str) -> None:
    (finding,) = (one for one in judge(told(**changes), SITE, 40.0, 60.0) if one.verdict != "ok")
    assert finding.verdict == verdict
    assert said in finding.line


def test_a_profile_without_slurm_has_no_node_to_ask() -> None:
    with pytest.raises(UserError, match="sends no job to Slurm"):
        refuse_local(Profile(name="local", path=Path("local/config.yaml"), values={"cores": "all"}))
