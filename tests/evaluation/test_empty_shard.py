"""A shard without candidates, of a generation that was closed, is done by the steps themselves in no time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NoReturn

import pytest

from harmony_core.evaluation.evaluate_shard import evaluate_shard
from harmony_core.evaluation.evaluators import Latency, Training
from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.shard import Shard
from harmony_core.search.opened import OpenedSearch
from harmony_core.store import CURVES, LATENCY, TRAINING, read_table
from harmony_core.workers.children import Children

Prepared = Callable[..., OpenedSearch]


@pytest.fixture(autouse=True)
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def warm_up(self: Children) -> NoReturn:
        raise AssertionError("a worker was started for nothing")

    monkeypatch.setattr(Children, "warm_up", warm_up)


def nothing(row: dict[str, Any], done: int, total: int) -> NoReturn:
    raise AssertionError("nothing was to be done")


def test_training(prepared: Prepared) -> None:
    setting = prepared()
    evaluate_shard(Training(), Shard(setting, [], 3, 0), report=nothing, launcher=Launcher())
    assert read_table(setting.folder.shard(3, "training", 0), TRAINING).is_empty()
    assert read_table(setting.folder.shard(3, "curves", 0), CURVES).is_empty()


@pytest.mark.parametrize("source", ["measured", "predicted:cpu"])
def test_latency(prepared: Prepared, source: str) -> None:
    # Settled with a prediction, since a measured reference needs a worker.
    predicted = prepared()
    latency = predicted.config.latency.model_copy(update={"source": source})
    setting = dataclasses.replace(predicted, config=predicted.config.model_copy(update={"latency": latency}))
    evaluate_shard(Latency(), Shard(setting, [], 3, 0), report=nothing, launcher=Launcher())
    assert read_table(setting.folder.shard(3, "latency", 0), LATENCY).is_empty()
