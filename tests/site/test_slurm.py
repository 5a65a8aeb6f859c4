"""What Slurm's commands print is understood."""

from __future__ import annotations

import pytest

from harmony_core.site.job_request import JobRequest
from harmony_core.slurm.client import Slurm, _gpus, _minutes
from harmony_core.slurm.command import Answer
from tests.site.fakes import ACCOUNTING, fake_slurm


def test_partitions() -> None:
    batch, long, old = Slurm(fake_slurm()).partitions()
    assert (batch.name, batch.default, batch.state, batch.max_minutes, batch.max_nodes) == ("batch", True, "UP", 120, 4)
    assert (long.max_minutes, long.max_nodes) == (36 * 60 + 30, None)
    assert (old.state, old.max_minutes) == ("DOWN", None)


def test_nodes() -> None:
    run = fake_slurm()
    nodes = Slurm(run).nodes("batch")
    assert [(node.cpus, node.memory_mb, node.gpus) for node in nodes[:3]] == [
        (64, 256000, 8),
        (64, 256000, 8),
        (32, 128000, 0),
    ]
    assert [node.in_service for node in nodes] == [True, True, True, False]
    assert nodes[0].features == {"nvme", "a100"}
    assert nodes[2].features == frozenset()
    assert "--partition=batch" in run.asked[0]


@pytest.mark.parametrize(
    ("gres", "gpus"),
    [("(null)", 0), ("gpu:8", 8), ("gpu:a100:4(S:0-3),nvme:1", 4), ("gpu:a:2,gpu:b:2", 4), ("gpu", 1), ("nvme:2", 0)],
)
def test_gpus(gres: str, gpus: int) -> None:
    assert _gpus(gres) == gpus


@pytest.mark.parametrize(("text", "minutes"), [("UNLIMITED", None), ("00:30:00", 30), ("2-00:00:00", 2880)])
def test_time_limits(text: str, minutes: int | None) -> None:
    assert _minutes(text) == minutes


def test_accounts_are_none_where_nobody_keeps_them() -> None:
    assert Slurm(fake_slurm()).accounts() is None
    assert Slurm(fake_slurm(**ACCOUNTING)).accounts() == ["abc123", "xyz789"]
    assert Slurm(fake_slurm(**ACCOUNTING)).qualities() == ["debug", "normal"]


def test_the_scheduler_is_asked_with_the_job_s_own_flags() -> None:
    run = fake_slurm()
    assert Slurm(run).refusal(JobRequest(name="train", nodes=2, constraint="nvme").flags()) is None
    assert run.asked == [
        ["sbatch", "--test-only", "--nodes=2", "--cpus-per-task=1", "--constraint=nvme", "--wrap=true"]
    ]
    said = Answer(1, "", "sbatch: error: x\nallocation failure: Invalid feature specification\n")
    refusal = Slurm(fake_slurm(**{"sbatch --test-only": said})).refusal(JobRequest(name="train").flags())
    assert refusal == "allocation failure: Invalid feature specification"
