"""The pipeline's time against a simulation of 1F1B, micro-batch by micro-batch."""

from __future__ import annotations

import random

import pytest

from harmony_core.machines.schedule import micro_batches_in_flight, pipeline_seconds

Pass = tuple[str, int]


def order(stage: int, num_stages: int, num_micro_batches: int) -> list[Pass]:
    """What a stage does: forward passes to fill the pipeline, then one forward and one backward in turn."""
    filling = min(num_stages - stage - 1, num_micro_batches)
    passes = [("forward", i) for i in range(filling)]
    for i in range(filling, num_micro_batches):
        passes += [("forward", i), ("backward", i - filling)]
    return passes + [("backward", i) for i in range(num_micro_batches - filling, num_micro_batches)]


def simulated(stage_seconds: list[float], num_micro_batches: int) -> tuple[float, list[int]]:
    """When the last pass ends, and how many micro-batches each stage held at most."""
    num_stages = len(stage_seconds)
    todo = [order(stage, num_stages, num_micro_batches) for stage in range(num_stages)]
    ended: dict[tuple[str, int, int], float] = {}
    free = [0.0] * num_stages
    while any(todo):
        for stage, passes in enumerate(todo):
            while passes:
                kind, i = passes[0]
                before = ("forward", i, stage - 1) if kind == "forward" else ("backward", i, stage + 1)
                if kind == "backward" and stage == num_stages - 1:
                    before = ("forward", i, stage)
                if (kind == "backward" or stage > 0) and before not in ended:
                    break
                begin = max(free[stage], ended.get(before, 0.0))
                share = 1 / 3 if kind == "forward" else 2 / 3
                free[stage] = ended[kind, i, stage] = begin + stage_seconds[stage] * share
                passes.pop(0)
    held = []
    for stage in range(num_stages):
        now, most = 0, 0
        for kind, _ in order(stage, num_stages, num_micro_batches):
            now += 1 if kind == "forward" else -1
            most = max(most, now)
        held.append(most)
    return max(free), held


@pytest.mark.parametrize("pp", [1, 2, 4, 8])
@pytest.mark.parametrize("micro_batches", [1, 3, 8, 32])
def test_even_stages_take_the_known_number_of_turns(pp: int, micro_batches: int) -> None:
    assert pipeline_seconds([2.0] * pp, micro_batches) == pytest.approx(2.0 * (micro_batches + pp - 1))
    assert simulated([2.0] * pp, micro_batches)[0] == pytest.approx(2.0 * (micro_batches + pp - 1))


@pytest.mark.parametrize("seed", range(20))
def test_uneven_stages_take_no_longer_and_hardly_less(seed: int) -> None:
    rng = random.Random(seed)
    stages = [rng.uniform(0.8, 1.0) for _ in range(rng.randint(2, 8))]
    micro_batches = rng.randint(1, 40)
    ratio = simulated(stages, micro_batches)[0] / pipeline_seconds(stages, micro_batches)
    assert 0.94 < ratio <= 1 + 1e-9


@pytest.mark.parametrize("micro_batches", [1, 2, 4, 9])
def test_micro_batches_in_flight(micro_batches: int) -> None:
    _, held = simulated([1.0] * 4, micro_batches)
    assert [micro_batches_in_flight(stage, 4, micro_batches) for stage in range(4)] == held
