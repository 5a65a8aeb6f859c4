"""Promotion trains what the budget pays for, and writes down what it left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from harmony_core.evaluation.launcher import Launcher
from harmony_core.evaluation.promote import promote
from harmony_core.evaluation.setting import Setting
from harmony_core.evolution.budget import Allowance
from harmony_core.store import LATENCY, LEDGER, POPULATION, TRAINING, read_table

Prepared = Callable[..., Setting]
ALLOWED = Allowance(wanted=2, paid=1, reason="budget of 2 GPU-hours: 1.9 spent, 0.1 a candidate")


def nothing(row: dict[str, Any], done: int, total: int) -> None:
    """Nobody listens."""


def test_the_first_members_are_trained_and_the_rest_is_told(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def allow(folder: object, members: int) -> Allowance:
        asked.append(members)
        return ALLOWED

    monkeypatch.setattr("harmony_core.evaluation.promote.promotion_allowance", allow)
    setting = prepared(promote={"baselines": ["llama-nano", "mixtral-nano"]})
    stale = setting.folder.weights("of-an-earlier-front", 0, 0)
    stale.mkdir(parents=True)
    assert promote(setting, nothing, nothing, Launcher()) == ALLOWED
    assert not stale.exists()
    assert asked == [2]
    folder = setting.folder
    assert read_table(folder.population(None), POPULATION)["name"].to_list() == ["llama-nano"]
    (trained,) = read_table(folder.training(None, 0), TRAINING).to_dicts()
    assert trained["status"] == "ok"
    assert [path.name for path in folder.all_weights.iterdir()] == [f"00000-{trained['architecture_id']}-r0"]
    assert read_table(folder.latency(None, 0), LATENCY)["candidate"].unique().to_list() == [0]
    (row,) = read_table(folder.ledger(None), LEDGER).to_dicts()
    assert (row["generation"], row["reason"], row["count"]) == (None, ALLOWED.reason, 1)
