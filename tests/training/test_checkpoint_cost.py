"""A checkpoint is written where it saves more than it costs, and by the clock on the node's own disk."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from harmony_core.training import resume
from harmony_core.training.checkpoint.folders import committed
from harmony_core.training.recipe import Recipe
from harmony_core.training.rendezvous import World, start
from harmony_core.training.resume import Checkpointing, CheckpointPolicy, Identity
from harmony_core.training.trainer import TrainingInterrupted
from tests.training.test_trainer import GQA, RECIPE, architecture, run

SMALL = architecture(GQA)


class Killed(Exception):
    """As a process that dies."""


@pytest.mark.parametrize(("bytes_per_second", "written"), [(math.inf, 1), (1.0, 0)])
def test_told_to_leave_it_writes_what_is_worth_writing(
    data: Path, tmp_path: Path, bytes_per_second: float, written: int
) -> None:
    done: list[int] = []
    policy = CheckpointPolicy(tmp_path / "shared", bytes_per_second=bytes_per_second)
    options: dict[str, Any] = {"on_step": lambda point, _: done.append(point.step), "stop": lambda: len(done) == 3}
    with pytest.raises(TrainingInterrupted):
        run(data, SMALL, checkpoints=policy, **options)
    assert len(committed(policy.folder)) == written


def test_what_is_written_by_the_clock_lies_on_the_node_and_is_gone_on_from(data: Path, tmp_path: Path) -> None:
    whole = run(data, SMALL)
    policy = CheckpointPolicy(tmp_path / "shared", every_seconds=0.0, at_end=False, scratch=tmp_path / "node")
    did: list[int] = []

    def die(point: Any, _: Any) -> None:
        did.append(point.step)
        if point.step == 7:
            raise Killed

    with pytest.raises(Killed):
        run(data, SMALL, checkpoints=policy, on_step=die)
    assert not policy.folder.exists()
    again = run(data, SMALL, checkpoints=policy, on_step=lambda point, _: did.append(point.step))
    assert did[:8] == list(range(8))
    assert 0 < did[8] <= 7
    assert [p.train_loss for p in again.curve] == [p.train_loss for p in whole.curve]
    # Told to leave, it writes where another node can read it.
    left: list[int] = []
    options: dict[str, Any] = {"on_step": lambda point, _: left.append(point.step), "stop": lambda: len(left) == 2}
    with pytest.raises(TrainingInterrupted):
        run(data, SMALL, checkpoints=CheckpointPolicy(tmp_path / "other", scratch=tmp_path / "theirs"), **options)
    assert list(committed(tmp_path / "other")) == [2]


def test_the_clock_asks_for_nothing_when_little_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(World())
    clock = [0.0]
    monkeypatch.setattr(resume.time, "monotonic", lambda: clock[0])
    recipe = Recipe.parse({**RECIPE, "tokens": 100 * 256})
    policy = CheckpointPolicy(tmp_path / "shared", every_seconds=600.0)
    checkpoints = Checkpointing(policy, Identity(SMALL, recipe, 1, 2, "none"))
    clock[0] = 599.0
    assert not checkpoints.is_due(50)
    clock[0] = 600.0
    # Of twenty minutes half are left, of eleven one.
    assert checkpoints.is_due(50)
    assert not checkpoints.is_due(91)
