"""What every search algorithm must hold: a place for everybody, no failed parent, all from the history and the seed."""

from __future__ import annotations

import hashlib

import numpy as np

from harmony_core.architecture import Architecture
from harmony_core.evolution.algorithm import Algorithm
from harmony_core.evolution.breeding import Breeder
from harmony_core.evolution.context import Context, Trial
from harmony_core.evolution.registry import AlgorithmConfig
from harmony_core.evolution.scored import Scored
from harmony_core.metrics import METRICS, metric
from harmony_core.search.objective import Objective
from harmony_core.space import Space

VOCAB, POPULATION, GENERATIONS = 257, 6, 3


def check_algorithm(config: AlgorithmConfig, space: Space, objectives: tuple[Objective, ...]) -> None:
    """Runs it twice over made-up results, of which one in eight failed; both runs are the same.

    Args:
        config: its configuration.
        space: what it searches.
        objectives: names of metrics.

    Raises:
        AssertionError: candidates without a place, a failed one that survives, children outside the space or known
            already, or another search from the same seed.
    """
    first, again = (_search(config.make(objectives, POPULATION), space, objectives) for _ in range(2))
    assert first == again, "the same history and seed gave another search"
    assert len(set(first)) == POPULATION * GENERATIONS, "an architecture was made twice"


def _search(algorithm: Algorithm, space: Space, objectives: tuple[Objective, ...]) -> list[str]:
    trials: list[Trial] = []
    scored: list[Scored] = []
    for generation in range(GENERATIONS):
        breeder = Breeder(Context(space, VOCAB, generation, trials), algorithm)
        children = [
            breeder.child(np.random.default_rng([generation, number])).architecture for number in range(POPULATION)
        ]
        for number, child in enumerate(children):
            assert space.violations(child) == [], f"{child.id} is not in the space"
            scored.append(_made_up(child, generation, number, objectives))
        placements = algorithm.tell(scored)
        assert len(placements) == len(scored), "everybody has a place"
        for one, placement in zip(scored, placements, strict=True):
            assert one.ok or not placement.survives, f"{one.architecture_id} failed and survives"
        trials += [
            Trial(generation, number, child.id, child.to_json(), one.status, one.metrics)
            for number, (child, one) in enumerate(zip(children, scored[-POPULATION:], strict=True))
        ]
        survivors = [one for one, placement in zip(scored, placements, strict=True) if placement.survives]
        assert survivors, "nobody survives"
        scored = survivors
    return [trial.architecture_id for trial in trials]


def _made_up(architecture: Architecture, generation: int, number: int, objectives: tuple[Objective, ...]) -> Scored:
    noise = int(hashlib.sha256(architecture.id.encode()).hexdigest()[:6], 16) / 0xFFFFFF
    status = "diverged" if noise > 7 / 8 else "ok"
    values: dict[str, float | None] = dict.fromkeys(METRICS)
    for objective in objectives:
        declared = metric(objective.name)
        values[objective.name] = declared.of(architecture) if declared.is_static else 1.0 + noise
    return Scored(generation, number, architecture.id, status, values if status == "ok" else dict.fromkeys(METRICS))
