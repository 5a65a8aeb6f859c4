"""The made-up problems' best fronts are known and can be had; both loops are what they claim to be."""

from __future__ import annotations

import itertools
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pymoo.core.population import Population

from benchmarks import lag_quality
from benchmarks.search_quality.genes import ATTENTION, VOCAB_SIZE, Genes
from benchmarks.search_quality.loops import POPULATION, _New, _Seen, peer, search
from benchmarks.search_quality.problems import (
    OBJECTIVES,
    PROBLEMS,
    ZDT1,
    Chain,
    Epistatic,
    Noisy,
    Problem,
    points_frame,
)
from benchmarks.search_quality.statistics import difference
from harmony_core.architecture import Architecture
from harmony_core.results import front
from harmony_core.results.hypervolume import hypervolume
from harmony_core.space import Space, sample
from harmony_core.store import SearchFolder

SMALL: dict[str, Any] = {
    "depth": {"min": 2, "max": 3},
    "d_model": [32],
    "blocks": {
        "mqa": {"domains": {"num_heads": [2, 4], "head_dim": [8, 16]}},
        "mamba2": {"domains": {"d_state": [16, 32], "head_dim": [16]}},
        "mlp": {"domains": {"d_ff": [64, 128, 192], "activation": ["gelu", "relu2"]}},
        "moe": {"domains": {"n_routed": [4], "top_k": [2, 3], "d_expert": [48]}},
    },
}


@pytest.fixture(scope="module")
def nano() -> Space:
    return Space.read("nano")


@pytest.fixture(scope="module")
def samples(nano: Space) -> list[Architecture]:
    return [sample(nano, VOCAB_SIZE, np.random.default_rng(seed)).architecture for seed in range(40)]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_the_known_front_is_of_the_space_and_nobody_beats_it(
    problem: type[Problem], nano: Space, samples: list[Architecture]
) -> None:
    made = problem(nano)
    assert 0 < made.known < 1  # Builds an architecture for every point of the front.
    known = points_frame([values for values, _ in made.best()])
    both = points_frame([*known.select(OBJECTIVES).rows(), *(made.values(one) for one in samples)])
    assert hypervolume(both, OBJECTIVES, made.frame) == pytest.approx(made.known, abs=1e-12)


@pytest.mark.parametrize("problem", [Epistatic, Noisy])
def test_the_best_of_a_chain_is_the_best_of_all_chains(problem: type[Chain]) -> None:
    made = problem(Space.parse(SMALL))
    every = [made._point(list(layers)) for depth in (2, 3) for layers in itertools.product(made.alleles, repeat=depth)]
    best = front(points_frame(every), OBJECTIVES, constrained=True).unique(OBJECTIVES).sort(OBJECTIVES)
    told = points_frame([values for values, _ in made.best()])
    told = front(told, OBJECTIVES, constrained=True).unique(OBJECTIVES).sort(OBJECTIVES)
    assert np.allclose(told.select(OBJECTIVES).to_numpy(), best.select(OBJECTIVES).to_numpy(), rtol=0, atol=1e-12)


def test_zdt1_by_hand(nano: Space) -> None:
    made = ZDT1(nano)
    attention = next(kind for kind in made.genes.mixers if kind in ATTENTION)
    flawless = made.genes.witness([(attention, "mlp"), ("mamba2", "mlp"), ("mamba2", "mlp"), ("mamba2", "mlp")])
    assert made.values(flawless) == (2 - 0.5, 0.25)
    assert made.found([flawless], 0) == pytest.approx((5 - 1.5) / 4 * (1.1 - 0.25) / 1.1 / made.known)


def test_neighbours_matter_in_the_epistatic_problem_alone(nano: Space) -> None:
    order = [("mha", "mlp"), ("mamba2", "moe"), ("hyena_se", "mlp")]
    for problem, is_epistatic in ((Epistatic, True), (Noisy, False)):
        made = problem(nano)
        points = {made._point(list(layers)) for layers in itertools.permutations(order)}
        merits = [merit for merit, _ in points]
        assert (max(merits) - min(merits) > 0.01) == is_epistatic


def test_noise_is_the_searchs_and_not_of_the_judgement(nano: Space, samples: list[Architecture]) -> None:
    made = Noisy(nano)
    errors = [made.measured(one, seed)[0] - made.values(one)[0] for seed in range(20) for one in samples]
    assert statistics.stdev(errors) == pytest.approx(made.noise[0], rel=0.1)
    assert made.measured(samples[0], 1) == made.measured(samples[0], 1) != made.measured(samples[0], 2)
    # What a search takes for its front is judged by true values: never more than the best of what it has seen.
    seen = points_frame([made.values(one) for one in samples])
    assert made.found(samples, 3) <= hypervolume(seen, OBJECTIVES, made.frame) / made.known


def test_every_kind_of_every_space_has_choices_that_are_good() -> None:
    for name in ("nano", "harmony"):
        genes = Genes(Space.read(name))
        for kind in (*genes.mixers, *genes.channels):
            assert genes._flawless[kind], kind


def test_both_loops_start_alike_and_never_try_anybody_twice(nano: Space) -> None:
    problem = ZDT1(nano)
    ours = search(problem, {"kind": "nsga2"}, 5, 3)
    theirs = peer(problem, 5, 3)
    for seen in (ours, theirs):
        assert len({one.id for one in seen}) == len(seen) == 3 * POPULATION
        assert not any(nano.violations(one) for one in seen)
    first, second = ([one.id for one in seen[:POPULATION]] for seen in (ours, theirs))
    assert sorted(first) == sorted(second)
    assert [one.id for one in search(problem, {"kind": "nsga2"}, 5, 3)] == [one.id for one in ours]
    assert [one.id for one in peer(problem, 5, 3)] == [one.id for one in theirs]


def test_the_peer_breeds_nobody_that_it_has_had(nano: Space, samples: list[Architecture]) -> None:
    """In the whole search, and not only among those that still live, as pymoo's own elimination has it."""
    seen = _Seen(ZDT1(nano), 0)
    had, new, other = (seen.add(one) for one in samples[:3])
    seen._evaluate(np.array([had], dtype=object), {})
    bred = Population.new("X", np.array([[had], [new], [new], [other]], dtype=object))
    living = Population.new("X", np.array([[other]], dtype=object))
    assert [one.X[0] for one in _New(seen).do(bred, living)] == [new]


def test_a_median_difference_and_its_interval() -> None:
    rng = np.random.default_rng(1)
    theirs = rng.random(30)
    gap = difference(theirs + 0.1 + 0.01 * rng.standard_normal(30), theirs)
    assert gap["low"] < 0.1 < gap["high"]
    assert gap["low"] <= gap["median"] <= gap["high"]
    assert gap["high"] - gap["low"] < 0.02
    assert difference([0.5] * 30, [0.5] * 30) == {"median": 0.0, "low": 0.0, "high": 0.0}


@pytest.mark.parametrize("lag", [0, 1])
def test_lag_quality_takes_every_kind_of_the_space(
    nano: Space, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lag: int
) -> None:
    monkeypatch.setattr(lag_quality, "GENERATIONS", 3)
    monkeypatch.setattr(lag_quality, "POPULATION_SIZE", 12)
    problem = ZDT1(nano)
    volumes = lag_quality.search(problem, SearchFolder(tmp_path / "results" / "zdt1"), "nsga2", lag, 0)
    assert len(volumes) == 3
    assert 0 < volumes[0] <= volumes[-1] < problem.known
    assert lag_quality.summary([volumes, volumes], problem.known)["never_near"] == 2
