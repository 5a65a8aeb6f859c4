"""A configuration of version 2 in today's keys: the same schedule, and nothing that today's HARMONY refuses."""

from __future__ import annotations

import copy
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harmony_core.migration.configuration import migrated_config, migrated_start
from harmony_core.migration.folder import _frame
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from tests.migration.conftest import SEARCHES

OLD: dict[str, Any] = json.loads((SEARCHES / "finished" / "manifest.json").read_text())


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    config = copy.deepcopy(OLD["config"])
    for name, values in sections.items():
        config[name].update(values)
    return config


@given(
    fraction=st.floats(0, 0.999),
    steps=st.integers(1, 1_000_000),
    batch_size=st.integers(1, 4096),
    rest=st.integers(0, 63),
)
def test_as_many_steps_warm_up(fraction: float, steps: int, batch_size: int, rest: int) -> None:
    tokens = steps * batch_size * 64 + rest * batch_size
    recipe = {"warmup_fraction": fraction, "tokens": tokens, "batch_size": batch_size}
    config, _ = migrated_config(changed(recipe=recipe))
    assert Config.parse(config).recipe.warmup_steps == math.ceil(fraction * steps)


def test_all_else_stays_and_the_old_one_is_not_touched() -> None:
    before = copy.deepcopy(OLD["config"])
    config, told = migrated_config(OLD["config"])
    assert OLD["config"] == before
    assert len(told) == 1
    recipe = {**before["recipe"], "warmup_tokens": 512}
    del recipe["warmup_fraction"]
    assert config == {**before, "recipe": recipe}
    now = Config.parse(config)
    assert (now.recipe.schedule, now.search.algorithm.kind) == ("cosine", "nsga2")


@pytest.mark.parametrize(
    ("algorithm", "told"),
    [
        ({"kind": "fitness"}, ["latency_seconds null", "num_active_params null"]),
        ({"kind": "regularized_evolution"}, ["crossover_probability 0.3 -> null"]),
        ({"kind": "regularized_evolution", "survivors": 64, "crossover_probability": 0.0}, []),
        ({"kind": "nsga2", "survivors": 64}, ["survivors 64 -> null"]),
        ({"kind": "random", "survivors": 2}, []),
    ],
)
def test_what_todays_algorithms_refuse_is_changed_and_told(algorithm: dict[str, Any], told: list[str]) -> None:
    old = changed(search={"algorithm": {**OLD["config"]["search"]["algorithm"], **algorithm}})
    config, lines = migrated_config(old)
    assert Config.parse(config).search.algorithm.kind == algorithm["kind"]
    assert [one in line for one, line in zip(told, lines[1:], strict=True)] == [True] * len(told)


def test_the_newest_start_keeps_how_long_and_where_alone() -> None:
    config, _ = migrated_config(OLD["config"])
    start = {"search": {"generations": 5}, "execution": {"workers": 3}, "recipe": {"warmup_fraction": 0.5}}
    now = Config.parse(migrated_start(start, config))
    assert (now.search.generations, now.execution.workers, now.execution.candidates_per_job) == (5, 3, 16)
    assert now.recipe == Config.parse(config).recipe
    assert Config.parse(migrated_start({}, config)).search.generations == 8


def test_a_frame_in_which_an_objective_has_no_room_is_none() -> None:
    config = Config.parse(migrated_config(OLD["config"])[0])
    frame = copy.deepcopy(OLD["hypervolume"])
    assert _frame(frame, config) == frame
    frame["reference"]["kv_bytes_per_token"] = 0.0
    narrower = _frame(frame, config)
    assert narrower is not None
    assert Frame.parse(narrower).holds(config.search.metrics)
    assert "kv_bytes_per_token" not in narrower["ideal"]
    frame["reference"]["num_active_params"] = 0.0
    assert _frame(frame, config) is None
