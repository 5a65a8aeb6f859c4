"""Ranks whose batch node is lost give the allocation back, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harmony_core.workers import orphans
from harmony_core.workers.orphans import give_back, gives_back


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What Slurm was told; it says of the node what FAKE_STATE is, of the job FAKE_JOB, and FAKE_REFUSES a requeue."""
    path = tmp_path / "asked"
    for name, script in {
        "sinfo": 'echo "$FAKE_STATE"',
        "squeue": 'echo "$FAKE_JOB"',
        "scontrol": f'echo "scontrol $*" >> {path}; [ -z "$FAKE_REFUSES" ]',
        "scancel": f'echo "scancel $*" >> {path}',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("FAKE_REFUSES", "")
    monkeypatch.setenv("FAKE_JOB", "RUNNING")
    monkeypatch.setattr(orphans, "_ASK_SECONDS", 0.01)
    monkeypatch.setattr(orphans, "_PATIENCE_SECONDS", 0.2)
    return path


# The last one as Slurm 22.05 calls a node that was being drained when it was lost.
@pytest.mark.parametrize("state", ["down", "down*", "drained*"])
def test_a_lost_batch_node_is_reason_to_requeue(asked: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setenv("FAKE_STATE", state)
    assert give_back("n1")
    assert asked.read_text().splitlines() == ["scontrol requeue 7"]


@pytest.mark.parametrize(
    "state", ["allocated", "allocated*", "draining", "draining*", "mixed", "", os.fsdecode(b"caf\xe9")]
)
def test_one_that_may_live_is_left_alone(asked: Path, monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    monkeypatch.setenv("FAKE_STATE", state)
    assert not give_back("n1")
    assert not asked.exists()


def test_where_nobody_may_requeue_the_job_is_cancelled(asked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_STATE", "down")
    monkeypatch.setenv("FAKE_REFUSES", "yes")
    assert give_back("n1")
    assert asked.read_text().splitlines() == ["scontrol requeue 7", "scancel 7"]


@pytest.mark.parametrize("state", ["COMPLETING", "PENDING", ""])
def test_a_job_that_another_rank_has_requeued_is_not_cancelled(
    asked: Path, monkeypatch: pytest.MonkeyPatch, state: str
) -> None:
    """Slurm refuses a second requeue: "Job is pending execution"."""
    monkeypatch.setenv("FAKE_STATE", "down")
    monkeypatch.setenv("FAKE_REFUSES", "yes")
    monkeypatch.setenv("FAKE_JOB", state)
    assert give_back("n1")
    assert asked.read_text().splitlines() == ["scontrol requeue 7"]


def test_a_few_ranks_see_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert [gives_back(node, local) for node, local in ((0, 0), (3, 0), (4, 0), (0, 1))] == [True, True, False, False]
    monkeypatch.delenv("SLURM_JOB_ID")
    assert not gives_back(0, 0)
