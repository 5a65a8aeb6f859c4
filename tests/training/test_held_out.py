"""A split's loss: its mean, its standard error and its works are those of the windows' own numbers."""

from __future__ import annotations

import math
import statistics

import numpy as np
import pytest

from harmony_core.training.held_out import MAX_WORKS, summarise

LN2 = math.log(2)


def test_bits_are_over_all_bytes_and_works_are_their_own_windows() -> None:
    nats, num_bytes = np.array([10.0, 20.0, 30.0]) * LN2, np.array([10, 10, 20])
    found = summarise(nats, num_bytes, 10, np.array([0, 0, 2]), ["a", "b", "c"])
    assert found.bits_per_byte == pytest.approx(60 / 40)
    assert found.loss == pytest.approx(60 * LN2 / 30)
    assert [(one.work, one.bytes, one.bits_per_byte) for one in found.works] == [
        ("a", 20, pytest.approx(1.5)),
        ("c", 20, pytest.approx(1.5)),
    ]


def test_the_standard_error_is_that_of_a_mean_for_windows_of_equal_bytes() -> None:
    bits = np.random.default_rng(0).normal(80.0, 4.0, 50)
    found = summarise(bits * LN2, np.full(50, 40), 40, np.zeros(50, dtype=np.int64), ["a"])
    assert found.standard_error == pytest.approx(statistics.stdev(bits / 40) / math.sqrt(50))


def test_the_standard_error_covers_what_other_windows_say() -> None:
    rng, misses = np.random.default_rng(1), 0
    for _ in range(200):
        num_bytes = rng.integers(20, 60, 40)
        bits = num_bytes * 2.0 + rng.normal(0.0, 0.3, 40) * num_bytes
        found = summarise(bits * LN2, num_bytes, 40, np.zeros(40, dtype=np.int64), ["a"])
        misses += abs(found.bits_per_byte - 2.0) > 1.96 * found.standard_error
    assert 2 <= misses <= 22


def test_one_window_has_no_spread_and_many_documents_no_table() -> None:
    names = [str(number) for number in range(MAX_WORKS + 1)]
    found = summarise(np.array([1.0]), np.array([1]), 1, np.array([0]), names)
    assert found.standard_error is None
    assert found.works is None
