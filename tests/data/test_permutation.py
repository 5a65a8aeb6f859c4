from collections import Counter

import numpy as np
import pytest

from harmony_core.data.permutation import permute


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 16, 17, 255, 256, 257, 1000, 4097])
def test_every_number_once(size: int) -> None:
    order = permute(np.arange(size), size, seed=3, epoch=1)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(size))


def test_depends_on_seed_and_epoch() -> None:
    orders = {tuple(permute(np.arange(500), 500, seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_is_a_function_of_each_index_alone() -> None:
    whole = permute(np.arange(1000), 1000, 1, 0)
    assert [int(permute(np.array([i]), 1000, 1, 0)[0]) for i in range(0, 1000, 97)] == whole[::97].tolist()


def test_is_the_same_for_ever() -> None:
    assert permute(np.arange(8), 8, seed=0, epoch=0).tolist() == [5, 7, 6, 3, 0, 4, 1, 2]


def test_looks_random() -> None:
    """Each of 6 values comes first about equally often, and neighbours do not stay neighbours."""
    firsts = Counter(int(permute(np.array([0]), 6, seed, 0)[0]) for seed in range(3000))
    assert all(400 < firsts[value] < 600 for value in range(6))
    order = permute(np.arange(20_000), 20_000, 0, 0)
    assert abs(np.corrcoef(order, np.arange(20_000))[0, 1]) < 0.03
    assert (np.abs(np.diff(order)) == 1).mean() < 0.001


def test_huge_size_takes_no_memory() -> None:
    size = 10**15
    order = permute(np.arange(100), size, 0, 0)
    assert len(set(order.tolist())) == 100
    assert order.max() < size
    assert order.max() > size // 2
