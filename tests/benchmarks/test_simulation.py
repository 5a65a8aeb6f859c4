"""The simulator against schedules worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from benchmarks.simulation import Overheads, allocation_a_shard, standing
from benchmarks.workload import Workload

NONE = Overheads(start=0.0, chain=0.0, gap=0.0, release=0.0)


@dataclasses.dataclass(frozen=True)
class Given(Workload):
    """Durations as given, all of them expected rightly."""

    durations: tuple[tuple[float, ...], ...] = ()

    def generation(self, index: int) -> tuple[list[float], list[float]]:
        return list(self.durations[index]), list(self.durations[index])


def given(*durations: tuple[float, ...]) -> Given:
    return Given(generations=len(durations), durations=durations)


def test_every_overhead_counts_where_it_belongs() -> None:
    workload, overheads = given((1, 1), (1, 1)), Overheads(start=1.0, chain=2.0, gap=0.5, release=0.25)
    assert standing(workload, 1, 0, overheads).seconds == pytest.approx(1 + 2 * 1.5 + 2 + 2 * 1.5 + 0.25)
    # With lag the second generation is there from the start.
    assert standing(workload, 1, 1, overheads).seconds == pytest.approx(1 + 4 * 1.5 + 0.25)
    assert allocation_a_shard(workload, 1, overheads).seconds == pytest.approx(2 * (1 + 2 * 1.5 + 0.25))


def test_lag_fills_the_time_beside_a_straggler() -> None:
    workload = given((3, 1), (1, 1))
    assert standing(workload, 2, 0, NONE).share == pytest.approx(6 / 8)
    assert standing(workload, 2, 1, NONE).share == 1.0


def test_a_lagged_generation_waits_for_the_selection_that_it_is_bred_from() -> None:
    # Generation 2 needs that of 0, which ends at 3: until then the second team has no more than 1 + 1 to do.
    usage = standing(given((3, 1), (1,), (1, 1)), 2, 1, dataclasses.replace(NONE, chain=0.5))
    assert usage.seconds == pytest.approx(3 + 0.5 + 1)
    assert usage.busy == 7


def test_the_longest_expected_begins_first_and_older_generations_before_younger_ones() -> None:
    # 2 beside 1 and 1, then 5. With the younger first it would be 5 seconds, with the shortest first 6.
    assert standing(given((1, 2, 1), (5,)), 2, 1, NONE).seconds == pytest.approx(7)


def test_a_workload_is_the_same_each_time_and_ends_at_its_limit() -> None:
    workload = Workload(candidates=1000, limit_seconds=1.0, seed=3)
    durations, expectations = workload.generation(1)
    assert (durations, expectations) == workload.generation(1)
    assert durations != workload.generation(2)[0]
    assert max(durations) == 1.0
    assert 0.2 < sum(abs(e / d - 1) for d, e in zip(durations, expectations, strict=True)) / 1000 < 0.3
