"""What is said of two trainings that should be one."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harmony_core.errors import UserError
from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluators import Training
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.reproduce import Reproduction, reproduce
from harmony_core.evaluation.shard import Shard
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import TRAINING, Run, read_table, write_table

ROW = {
    **{"status": "ok", "steps": 2, "tokens": 512, "train_loss": 2.0, "val_loss": 4.0, "val_bits_per_byte": 5.0},
    **{"test_loss": None, "test_bits_per_byte": None, "router_loss": None},
}
MLP = [{"kind": "mlp", "d_ff": 32}]


def apart(now: dict[str, Any], curve: list[float]) -> float:
    return Reproduction(ROW, {**ROW, **now}, [3.0, 2.0], curve).apart


@pytest.mark.parametrize(
    ("now", "curve", "expected"),
    [
        ({}, [3.0, 2.0], 0.0),
        ({"val_loss": 4.0004}, [3.0, 2.0], 1e-4),
        ({}, [3.0, 2.002], 1e-3),
        ({"val_loss": None}, [3.0, 2.0], math.inf),
        ({"status": "diverged"}, [3.0, 2.0], math.inf),
        ({}, [3.0], math.inf),
    ],
)
def test_how_far_apart_two_trainings_are(now: dict[str, Any], curve: list[float], expected: float) -> None:
    assert apart(now, curve) == pytest.approx(expected, rel=1e-3)


def test_a_row_of_another_recipe_or_of_nobody_is_refused(
    prepared: Callable[..., OpenedSearch], candidates: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    setting, population = prepared(), candidates(MLP)
    evaluate_shard(Training(), Shard(setting, population, 0, 0), report=lambda *_: None, launcher=Launcher())
    told: list[str] = []
    (again,) = reproduce(setting, population[0], Run(), tmp_path / "again", told.append)
    assert again.apart == 0
    assert len(again.curve_now) == again.now["steps"] == 4
    assert len(told) == 1
    with pytest.raises(UserError, match=r"^replicate: 1, rate 0: .* has no such row"):
        reproduce(setting, population[0], Run(1), tmp_path / "again", told.append)
    path = setting.folder.shard(0, "training", 0)
    (row,) = read_table(path, TRAINING).to_dicts()
    write_table(path, [{**row, "recipe_id": "another"}], TRAINING)
    with pytest.raises(UserError, match=r"^recipe_id: another: this version would train with .*; use the search's"):
        reproduce(setting, population[0], Run(), tmp_path / "again", told.append)


def test_all_rungs_are_compared(
    prepared: Callable[..., OpenedSearch], candidates: Callable[..., list[dict[str, Any]]], tmp_path: Path
) -> None:
    setting, population = prepared(recipe={"tokens": 2048, "rungs": [1024]}), candidates(MLP)
    evaluate_shard(Training(), Shard(setting, population, 0, 0), report=lambda *_: None, launcher=Launcher())
    rungs = reproduce(setting, population[0], Run(), tmp_path / "again", lambda line: None)
    assert [(rung.apart, len(rung.curve_now), rung.now["rung"]) for rung in rungs] == [(0, 4, 0), (0, 8, 1)]
