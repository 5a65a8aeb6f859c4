"""A candidate that is told to leave writes a checkpoint, and its next attempt is the rest of one training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harmony_core.evaluation.duration_model import DurationModel
from harmony_core.evaluation.evaluators import Training
from harmony_core.evaluation.shard import Shard
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import Run
from harmony_core.workers import Outcome, Task
from harmony_core.workers.children import Children, Setup
from harmony_core.workers.pool import PRELOAD
from tests.waiting import PATIENCE, wait_until

GQA = {"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}
MLP = {"kind": "mlp", "d_ff": 32}
STEPS = 120


@pytest.fixture
def children() -> Iterator[Children]:
    forked = Children(PRELOAD)
    yield forked
    forked.kill_all()


def end_of(children: Children) -> Outcome:
    ((_, outcome),) = children.wait(timeout=PATIENCE)
    return outcome


def test_told_to_leave_it_goes_on_where_it_was(
    prepared: Callable[..., OpenedSearch],
    candidates: Callable[..., list[dict[str, Any]]],
    children: Children,
    tmp_path: Path,
) -> None:
    setting = prepared(recipe={"tokens": STEPS * 256}, execution={"checkpoint_seconds": 0.01})
    (row,) = candidates([GQA, MLP])

    def start(name: str, change: dict[str, Any]) -> Task:
        durations = DurationModel.of(setting, setting.recipe, 0)
        task = Training().task(Shard(setting, [row], 0, 0), row, Run(), durations)
        task.payload.update(change)
        children.start(task, 1, Setup(tmp_path / f"{name}.log"))
        return task

    start("undisturbed", {"checkpoints": {"folder": str(tmp_path / "none"), "every_seconds": None, "keep": False}})
    expected = end_of(children).result
    assert expected is not None

    task = start("first", {})
    folder = Path(task.payload["checkpoints"]["folder"])
    wait_until(lambda: list(folder.glob("step=????????")), "a checkpoint on the way")
    children.running[0].process.terminate()
    left = end_of(children)
    assert (left.result, left.error, left.counts) == (None, "interrupted", False)

    start("second", {})
    again = end_of(children).result
    assert again is not None
    log = (tmp_path / "second.log").read_text()
    assert "goes on from the checkpoint of step" in log
    clock = ("seconds",)
    curves = [[{k: v for k, v in point.items() if k not in clock} for point in found["curve"]]
              for found in (expected, again)]  # fmt: skip
    assert len(curves[0]) == STEPS
    assert curves[0] == curves[1]
    assert again["row"]["val_loss"] == expected["row"]["val_loss"]
    assert not folder.exists(), "a finished candidate leaves no checkpoint"
