"""A shard without candidates, of a generation that was closed, is done by the steps themselves in no time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from harmony_core.evaluation.latency_shard import benchmark_shard
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.setting import Setting
from harmony_core.evaluation.training_shard import train_shard
from harmony_core.store import CURVES, LATENCY, TRAINING, read_table
from harmony_core.workers.children import Children

Prepared = Callable[..., Setting]


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def warm_up(self: Children) -> NoReturn:
        raise AssertionError("a worker was started for nothing")

    monkeypatch.setattr(Children, "warm_up", warm_up)


def nothing(row: dict[str, Any], done: int, total: int) -> NoReturn:
    raise AssertionError("nothing was to be done")


def test_training(prepared: Prepared) -> None:
    setting = prepared()
    train_shard(setting, [], 3, 0, report=nothing, launcher=Launcher())
    assert read_table(setting.folder.training(3, 0), TRAINING).is_empty()
    assert read_table(setting.folder.curves(3, 0), CURVES).is_empty()


@pytest.mark.parametrize("source", ["measured", "predicted:cpu"])
def test_latency(prepared: Prepared, source: str) -> None:
    setting = prepared(latency={"source": source})
    benchmark_shard(setting, [], 3, 0, report=nothing, launcher=Launcher())
    assert read_table(setting.folder.latency(3, 0), LATENCY).is_empty()
