"""The planner: everything is looked at, what wins is fastest, what loses is told why, what cannot be is refused."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace

import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.machines import (
    Assumptions,
    Estimator,
    Layout,
    Machine,
    TrainingStep,
    comparisons,
    plan_layouts,
    search,
    weak_scaling,
)
from tests.machines.distributed import cluster, dense, hybrid

STEP = TrainingStep(batch_size=64, sequence_length=32)
PEAK = Estimator(hybrid(), cluster(), STEP).estimate(Layout(micro_batch_size=1)).peak_memory


@pytest.fixture(scope="module")
def found():
    return plan_layouts(hybrid(), cluster(memory=PEAK / 5), 16, STEP)


def test_every_size_is_looked_at(found) -> None:
    seen = {
        (one.pp, one.dp, one.ep, one.cp)
        for one in (
            *(estimate.layout for estimate in (*found.fitting, *found.too_large)),
            *(layout for layout, _, _ in found.impossible),
        )
    }
    assert {(pp, 16 // pp, ep, 1) for pp in (1, 2, 4, 8, 16) for ep in (1, 2, 4, 8) if (16 // pp) % ep == 0} <= seen
    assert found.fitting
    assert found.too_large
    assert found.impossible


def test_every_micro_batch_that_divides_is_looked_at() -> None:
    found = search(Estimator(dense(), cluster(), TrainingStep(batch_size=24, sequence_length=32)), 2)
    replicas = [one.layout for one in found.fitting if one.layout.dp == 2]
    assert {layout.micro_batch_size for layout in replicas} == {1, 2, 3, 4, 6, 12}


def test_what_wins_is_fastest_and_everything_told_is_true(found) -> None:
    times = [one.seconds for one in found.fitting]
    assert times == sorted(times)
    assert all(one.fits for one in found.fitting)
    assert not any(one.fits for one in found.too_large)
    for one in found.fitting:
        assert one.layout.num_processes == 16
        assert one.layout.problem(hybrid(), STEP.batch_size, STEP.sequence_length) is None


@pytest.mark.parametrize("factor", [1.1, 3.0])
def test_a_better_machine_never_has_a_worse_plan(found, factor: float) -> None:
    larger = plan_layouts(hybrid(), cluster(memory=factor * PEAK / 5), 16, STEP)
    assert {one.layout for one in found.fitting} <= {one.layout for one in larger.fitting}
    faster = replace(STEP, assumptions=Assumptions(network_bandwidth=factor))
    for better in (larger, plan_layouts(hybrid(), cluster(memory=PEAK / 5), 16, faster)):
        assert better.fitting[0].seconds <= found.fitting[0].seconds


def test_a_plan_is_the_same_every_time(found) -> None:
    again = plan_layouts(hybrid(), cluster(memory=PEAK / 5), 16, STEP)
    assert [one.layout for one in again.fitting] == [one.layout for one in found.fitting]


def test_losers_are_told_why(found) -> None:
    told = {one.setting: one for one in comparisons(found)}
    best = found.fitting[0].layout
    assert told["cp 2, 4, 8"].layout is None
    assert "needs whole sequences" in told["cp 2, 4, 8"].reason
    for pp in {1, 2, 4, 8, 16} - {best.pp}:
        one = told[f"pp {pp}"]
        assert one.layout is not None
        assert one.layout.pp == pp
        assert "slower (" in one.reason or "lacks" in one.reason
    assert "lacks" in told["pp 1"].reason
    assert f"pp {best.pp}" not in told


def test_a_model_that_fits_nowhere_names_the_devices_that_would_do() -> None:
    machine = cluster(memory=PEAK / 6)
    with pytest.raises(UserError) as error:
        plan_layouts(hybrid(), machine, 2, TrainingStep(8, 32))
    assert str(error.value).startswith("gpus: 2: the model fits under no layout: the leanest, pp2")
    assert str(error.value).endswith("use 16 devices")
    assert plan_layouts(hybrid(), machine, 16, TrainingStep(64, 32)).fitting
    with pytest.raises(UserError, match="fits under no layout"):
        plan_layouts(hybrid(), machine, 8, TrainingStep(32, 32))


def test_a_number_without_divisors_is_told_a_neighbour_that_has_some() -> None:
    with pytest.raises(UserError, match="use 16 devices"):
        plan_layouts(hybrid(), cluster(memory=PEAK / 6), 17, TrainingStep(68, 32))


def test_a_model_that_fits_nowhere_at_all_says_so() -> None:
    with pytest.raises(UserError, match="use shorter sequences or a smaller model"):
        plan_layouts(hybrid(), cluster(memory=1e4), 2, STEP)


@pytest.mark.parametrize("gpus", [0, -8, 1025])
def test_devices_that_are_not_there_are_refused(gpus: int) -> None:
    with pytest.raises(UserError, match=f"gpus: {gpus}: use 1 to 1024, which the links of cluster join"):
        plan_layouts(dense(), cluster(), gpus, STEP)


def test_a_batch_that_no_layout_divides_is_refused() -> None:
    with pytest.raises(UserError, match=r"gpus: 11: no layout is possible \(.*does not divide the batch of 64"):
        plan_layouts(dense(), cluster(), 11, STEP)


def test_weak_scaling_keeps_the_layout_and_the_share() -> None:
    machine = cluster(latency=1e-3, congestion=0.8)
    best = plan_layouts(hybrid(), machine, 16, STEP).fitting[0].layout
    points = weak_scaling(hybrid(), machine, best, STEP)
    assert [point.gpus for point in points] == [2**power for power in range(3, 11)]
    assert all(point.batch_size == 4 * point.gpus for point in points)
    alike = [point for point in points if point.gpus >= best.num_processes // best.dp * best.ep]
    assert {point.estimate.layout.pp for point in alike} == {best.pp}
    assert alike[0].efficiency == 1.0
    falling = [point.efficiency for point in alike]
    assert falling == sorted(falling, reverse=True)
    assert falling[-1] < 1
    last = points[-1]
    own = Estimator(hybrid(), machine, TrainingStep(last.batch_size, 32)).estimate(last.estimate.layout)
    assert own.tokens_per_second == last.estimate.tokens_per_second


def test_sizes_too_small_for_a_replica_get_a_layout_of_their_own() -> None:
    machine = cluster()
    found = search(Estimator(hybrid(), machine, TrainingStep(256, 32)), 64)
    best = next(one.layout for one in found.fitting if one.layout.pp == 16)
    points = weak_scaling(hybrid(), machine, best, TrainingStep(256, 32), (8, 16, 64))
    assert [point.estimate.layout.pp == 16 for point in points] == [False, True, True]


def test_a_plan_for_1024_devices_takes_under_5_seconds() -> None:
    architecture, frontier = load_preset("hybrid-36b"), Machine.from_yaml("frontier")
    begin = time.process_time()
    step = TrainingStep(4096, 2048)
    found = plan_layouts(architecture, frontier, 1024, step)
    weak_scaling(architecture, frontier, found.fitting[0].layout, step)
    assert comparisons(found)
    assert time.process_time() - begin < 5


def test_planning_imports_no_torch() -> None:
    code = "import sys, harmony_core.machines, harmony_core.cli.plan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
