"""The tests behind the table of baselines, against their definitions."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics import holm, rank_sum, shift


def test_rank_sum_counts_arrangements() -> None:
    # Of the 20 ways to place three of six, two are as extreme as all on one side.
    assert rank_sum([1.0, 2.0, 3.0], [4.0, 5.0, 6.0]) == pytest.approx(2 / 20)


def test_holm_multiplies_the_smallest_by_all_and_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({"a": 0.7, "b": 0.6}) == {"a": 1.0, "b": 1.0}


def test_the_interval_is_what_the_test_does_not_refuse() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.normal(0.5, 1.0, 8), rng.normal(0.0, 1.0, 8)
    middle, low, high = shift(first, second)
    assert low < middle < high
    inside, outside = 1e-9, -1e-9
    for end, sign in ((low, 1), (high, -1)):
        assert rank_sum(first - (end + sign * inside), second) > 0.05
        assert rank_sum(first - (end + sign * outside), second) <= 0.05


def test_the_interval_covers() -> None:
    rng, misses = np.random.default_rng(4), 0
    for _ in range(400):
        _, low, high = shift(rng.normal(0.3, 1.0, 6), rng.normal(0.0, 1.0, 6))
        misses += not low <= 0.3 <= high
    assert misses <= 30


def test_too_few_runs_are_refused() -> None:
    with pytest.raises(ValueError, match="use more"):
        shift([1.0, 2.0], [3.0, 4.0])
