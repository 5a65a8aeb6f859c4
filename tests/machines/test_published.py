"""The planner's promise against published runs, and that the machine's file has the constant that it rests on."""

from __future__ import annotations

from pathlib import Path

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
    uncut,
)
from harmony_core.architecture.presets import load_preset
from harmony_core.machines import Machine, TrainingStep, plan_layouts, weak_scaling

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


def test_the_plan_that_is_told_of_the_hybrid_is_the_planners_own() -> None:
    architecture, step = load_preset("hybrid-36b"), TrainingStep(4096, 2048)
    fitting = plan_layouts(architecture, FRONTIER, 1024, step).fitting
    best, scaled = fitting[0], uncut(fitting, architecture, FRONTIER, step)
    told = " ".join((Path(__file__).parents[2] / "docs/planner.md").read_text().split())
    first, second = (str(one.layout).replace(" ZeRO-1 micro-batch", ", ZeRO-1, micro-batch") for one in (best, scaled))
    assert f"best layout {first}, {best.peak_memory / 1e9:.0f} GB a GCD: {best.seconds:.2f} s a step" in told
    assert f"weak scaling of {second} ({scaled.seconds:.2f} s) from the 64 GCDs of one replica" in told
    points = weak_scaling(architecture, FRONTIER, scaled.layout, step, (64, 1024, 16_384))
    assert f"{points[1].efficiency:.1%} at 1,024, {points[2].efficiency:.1%} at 16,384" in told


def test_the_hybrid_has_36_billion_parameters() -> None:
    assert load_preset("hybrid-36b").num_params() == pytest.approx(36e9, rel=0.01)
