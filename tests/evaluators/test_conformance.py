"""Every evaluator passes the same suite: HARMONY's own, and one that is not."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from harmony_core.evaluation import evaluators
from harmony_core.evaluation.evaluator import EVALUATORS
from harmony_core.evaluation.shard import Shard
from harmony_core.mad.config import MadConfig
from harmony_core.testing import evaluators as suite
from tests.evaluation.conftest import candidates, prepared  # noqa: F401
from tests.plugins.harmony_toys import evaluator

assert evaluators
assert evaluator
NAMES = tuple(EVALUATORS)
STACKS = [
    [{"kind": "gqa", "num_heads": 2, "num_kv_heads": heads, "head_dim": 16}, {"kind": "mlp", "d_ff": 32}]
    for heads in (1, 2)
]

MakeShard = Callable[..., Shard]


@pytest.fixture
def shard(prepared: Callable[..., Any], candidates: Callable[..., list[dict[str, Any]]]) -> MakeShard:  # noqa: F811
    """Makes the shard of two candidates; measured, where that is asked for, in one mode and quickly."""

    def make(measured: bool = False) -> Shard:
        latency = {"source": "measured", "modes": ["prefill"], "warmup_seconds": 0.01, "repeats": 3}
        setting = suite.with_evaluators(prepared(**({"latency": latency} if measured else {})), *NAMES)
        config = setting.config.model_copy(update={"mad": MadConfig(tasks=("memorisation",), steps=16)})
        return Shard(dataclasses.replace(setting, config=config), candidates(*STACKS), 0, 0)

    return make


def test_there_are_four() -> None:
    assert set(NAMES) == {"training", "latency", "mad", "toy"}


@pytest.mark.parametrize("name", NAMES)
def test_it_declares_what_others_read(name: str) -> None:
    suite.check_declaration(EVALUATORS[name])


@pytest.mark.parametrize("name", NAMES)
def test_its_tasks_are_a_function_of_the_shard(shard: MakeShard, name: str) -> None:
    suite.check_tasks(EVALUATORS[name], shard())


@pytest.mark.parametrize("name", NAMES)
def test_a_failed_row_is_whole(shard: MakeShard, name: str) -> None:
    suite.check_failed_row(EVALUATORS[name], shard())


@pytest.mark.parametrize("name", NAMES)
def test_a_dead_child_is_a_row(shard: MakeShard, name: str) -> None:
    suite.check_dead_child(EVALUATORS[name], shard(measured=True), "tests.workers.targets:die")


@pytest.mark.parametrize("name", NAMES)
def test_it_goes_on_where_it_was_interrupted(shard: MakeShard, name: str) -> None:
    suite.check_resume(EVALUATORS[name], shard(measured=True))


@pytest.mark.parametrize("name", NAMES)
def test_equal_candidates_have_equal_rows(shard: MakeShard, name: str) -> None:
    first = shard()
    suite.check_determinism(EVALUATORS[name], first, Shard(first.setting, first.population, 0, 1))


@pytest.mark.parametrize("name", NAMES)
def test_a_budget_counts_it(shard: MakeShard, name: str) -> None:
    suite.check_budget(EVALUATORS[name], shard(measured=True))
