"""The schedules' corners: where they rise, peak, hold and end."""

from __future__ import annotations

import pytest

from harmony_core.training.recipe import Recipe
from harmony_core.training.schedule import learning_rate_factor


def recipe(**fields: object) -> Recipe:
    return Recipe.parse({"tokens": 100 * 512, "batch_size": 2, "sequence_length": 256, **fields})


def test_warmup_rises_linearly_to_the_peak() -> None:
    r = recipe(warmup_tokens=10 * 512)
    assert r.warmup_steps == 10
    assert [learning_rate_factor(r, step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])


def test_cosine_ends_at_the_floor_and_is_halfway_in_the_middle() -> None:
    r = recipe(schedule="cosine", warmup_tokens=0, min_learning_rate_ratio=0.2)
    assert learning_rate_factor(r, 99) == pytest.approx(0.2)
    assert learning_rate_factor(r, 49) == pytest.approx(0.6)


def test_wsd_holds_then_falls_linearly() -> None:
    r = recipe(schedule="wsd", decay_fraction=0.2, warmup_tokens=5 * 512, min_learning_rate_ratio=0.0)
    assert {learning_rate_factor(r, step) for step in range(5, 80)} == {1.0}
    assert learning_rate_factor(r, 89) == pytest.approx(0.5)
    assert learning_rate_factor(r, 99) == pytest.approx(0.0)


def test_no_schedule_leaves_its_range() -> None:
    for schedule in ("cosine", "wsd"):
        r = recipe(schedule=schedule)
        factors = [learning_rate_factor(r, step) for step in range(r.num_steps)]
        assert min(factors) > 0
        assert max(factors) == 1.0
