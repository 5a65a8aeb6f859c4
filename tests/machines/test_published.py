"""The planner's promise against published runs, and that the machine's file has the constant that it rests on."""

from __future__ import annotations

import pytest

from benchmarks.planner_published import (
    EFFICIENCY_GOAL,
    LARGE,
    SMALL,
    THROUGHPUT_GOAL,
    calibrated,
    efficiency,
    teraflops,
    tuned,
)
from harmony_core.architecture.presets import load_preset
from harmony_core.machines import Machine

FRONTIER = Machine.from_yaml("frontier")


def test_the_file_has_the_calibrated_constant() -> None:
    small = tuned(SMALL, FRONTIER)
    assert FRONTIER.bf16.matrix_efficiency.value == pytest.approx(calibrated(FRONTIER, small), rel=0.01)
    assert teraflops(small, FRONTIER) == pytest.approx(73.5, rel=0.01)


@pytest.mark.parametrize("name", LARGE)
def test_throughput_and_weak_scaling_are_within_their_goals(name: str) -> None:
    run = LARGE[name]
    assert teraflops(run, FRONTIER) == pytest.approx(run.teraflops, rel=THROUGHPUT_GOAL)
    assert efficiency(run, FRONTIER, weak=True) == pytest.approx(run.weak, abs=EFFICIENCY_GOAL)


def test_the_hybrid_has_36_billion_parameters() -> None:
    assert load_preset("hybrid-36b").num_params() == pytest.approx(36e9, rel=0.01)
