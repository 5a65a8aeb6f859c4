"""The twelve that are grown, and what is told of their ranks."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.small_to_large import COUNT, LARGE, SMALL, grown, judge, plan, trainings


def row(size: str, seed: int, number: int, bits: float | None) -> dict[str, Any]:
    return {"key": f"{size}.{seed}.sample{number:02d}", "val_bits_per_byte": bits}


def test_twelve_architectures_have_both_sizes_and_their_growth_keeps_the_blocks() -> None:
    assert len({small.id for small, _ in grown().values()}) == COUNT
    for small, large in grown().values():
        assert small.num_active_non_embedding_params() == pytest.approx(SMALL, rel=0.02)
        assert large.num_active_non_embedding_params() == pytest.approx(LARGE, rel=0.02)
        assert [block.kind for block in large.blocks] == 2 * [block.kind for block in small.blocks]
    assert len({one.key for one in trainings()}) == 36
    assert plan().startswith("36 trainings of 12 architectures: small ")


def test_ranks_are_of_the_mean_over_seeds_and_of_those_that_have_both() -> None:
    small = {0: [1.0, 2.0, 3.0, 4.0], 1: [4.0, 3.5, 3.2, 3.0]}
    rows = [row("small", seed, number, bits) for seed, of in small.items() for number, bits in enumerate(of)]
    large = [row("large", 0, number, bits) for number, bits in enumerate([9.0, 8.0, 7.0])]
    found = judge([*rows, *large, row("large", 0, 3, None)])
    # Means of the three: 2.5, 2.75, 3.1.
    assert (found["small_to_large"]["architectures"], found["small_to_large"]["value"]) == (3, pytest.approx(-1.0))
    assert found["two_small_seeds"]["value"] == pytest.approx(-1.0)
    assert found["failed"] == ["large.0.sample03"]
    assert found["bits_per_byte"]["sample01"] == {"small": 2.75, "large": 8.0}


def test_a_part_of_the_trainings_has_no_rank_yet() -> None:
    found = judge([row("small", 0, number, 1.0 + number) for number in range(4)])
    assert found["small_to_large"] is found["two_small_seeds"] is None
    assert found["bits_per_byte"] == {}
