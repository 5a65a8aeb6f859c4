"""Several candidates on one GPU: each has its part of the memory, and CUDA's MPS is there while they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from harmony_core.host import GPU_SHARE
from harmony_core.training import device
from harmony_core.workers import Outcome, Task, WarmPool
from harmony_core.workers.mps import mps
from tests.waiting import wait_until
from tests.workers.allocation import TARGETS, Feeding, allocation, child_of, task

PIPE = "CUDA_MPS_PIPE_DIRECTORY"
NAMES = ["CUDA_VISIBLE_DEVICES", GPU_SHARE, PIPE]
# Says how it was called, and where its clients are to find it.
CONTROL = """#!/bin/sh
echo "$@ $(cat) $CUDA_MPS_PIPE_DIRECTORY ${CUDA_VISIBLE_DEVICES-none}" >> LOG
exit STATUS
"""


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one GPU and MPS; the file in which its control program says how it was called."""
    log = tmp_path / "mps.log"
    _install(tmp_path, log, 0)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.delenv(PIPE, raising=False)
    return log


def _install(folder: Path, log: Path, status: int) -> None:
    control = folder / "nvidia-cuda-mps-control"
    control.write_text(CONTROL.replace("LOG", str(log)).replace("STATUS", str(status)))
    control.chmod(0o755)


def _two_at_once(folder: Path) -> list[Task]:
    return [task(folder, key, "environment", names=NAMES) for key in ("a", "b")]


def _check(outcomes: list[Outcome], said: Path) -> None:
    told = [outcome.result for outcome in outcomes]
    assert len({one["pid"] for one in told if one}) == 2
    for one in told:
        assert one is not None
        assert (one["CUDA_VISIBLE_DEVICES"], one[GPU_SHARE]) == ("0", "0.5")
        # The daemon sees every GPU, so that its clients need not count anew; it is gone when they are.
        assert said.read_text().splitlines() == [f"-d  {one[PIPE]} none", f" quit {one[PIPE]} none"]
        assert not Path(one[PIPE]).exists()


def test_children_of_a_pool_share_a_gpu(said: Path, tmp_path: Path) -> None:
    pool = WarmPool(tmp_path / "logs", sharers=2, preload=TARGETS)
    assert pool.workers == 2
    tasks, outcomes = _two_at_once(tmp_path), list[Outcome]()
    begun: list[str] = []

    def on_begin(one: Task, attempt: int) -> None:
        begun.append(one.key)
        if len(begun) == 2:
            for each in tasks:
                Path(each.payload["gate"]).touch()

    pool.run(tasks, outcomes.append, on_begin)
    _check(outcomes, said)


def test_a_task_of_srun_is_as_many_ranks_as_share_its_gpu(said: Path, tmp_path: Path) -> None:
    with allocation(tmp_path, 1, sharers=2) as made:
        feeding = Feeding(made.address, tmp_path, tasks := _two_at_once(tmp_path))
        for one in tasks:
            child_of(tmp_path, one.key)
        for one in tasks:
            Path(one.payload["gate"]).touch()
        outcomes = feeding.end()
        made.server.stop()
        wait_until(lambda: made.ranks[0].poll() is not None, "the task to end with its ranks")
        made.server.start()
    _check(outcomes, said)


def test_a_daemon_that_does_not_start_is_said_and_costs_nobody(
    said: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _install(tmp_path, said, 1)
    with mps(2) as variables:
        assert variables == {}
    assert "take turns: exit code 1" in capfd.readouterr().err
    with mps(1) as variables:
        assert variables == {}


def test_a_process_takes_its_part_of_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    monkeypatch.setattr(device.torch.cuda, "set_per_process_memory_fraction", lambda share, _: asked.append(share))
    gpu = device.torch.device("cuda", 0)
    device.limit_memory(gpu)
    monkeypatch.setenv(GPU_SHARE, "0.25")
    device.limit_memory(gpu)
    assert asked == [0.25]
