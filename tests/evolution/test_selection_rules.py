"""What each algorithm does that the others do not; expected values by hand."""

import math

import numpy as np
import pytest

from harmony_core.errors import UserError
from harmony_core.evolution.algorithms.fitness import Fitness, FitnessConfig
from harmony_core.evolution.algorithms.nsga2 import NSGA2, NSGA2Config
from harmony_core.evolution.algorithms.regularized_evolution import RegularizedEvolution, RegularizedEvolutionConfig
from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Mutate
from harmony_core.evolution.ranking import ranks_and_crowding
from harmony_core.evolution.scored import Scored, violation
from harmony_core.search.config import Config
from harmony_core.search.objective import Objective
from harmony_core.space import Space

ANYWHERE = Context(Space.from_yaml("composer"), 256)
BITS, SECONDS = Objective(name="val_bits_per_byte"), Objective(name="latency_seconds")


def one(candidate: int, bits: float, seconds: float, birth: int = 0) -> Scored:
    metrics = {"val_bits_per_byte": bits, "latency_seconds": seconds}
    return Scored(birth, candidate, f"{birth}-{candidate}", "ok", metrics)


def survivors(algorithm: object, rows: list[Scored]) -> list[int]:
    standings = algorithm.tell(rows)  # type: ignore[attr-defined]
    return [row.candidate for row, standing in zip(rows, standings, strict=True) if standing.survives]


def test_fronts_and_crowding_by_hand() -> None:
    rows = [one(0, 0, 4), one(1, 1, 2), one(2, 3, 1), one(3, 4, 0), one(4, 3, 3), one(5, 4, 4)]
    graded = ranks_and_crowding(rows, [BITS, SECONDS])
    assert [rank for rank, _ in graded] == [0, 0, 0, 0, 1, 2]
    # (distance between neighbours / range, averaged over objectives): (3/4 + 3/4) / 2, (3/4 + 2/4) / 2.
    assert [distance for _, distance in graded] == [math.inf, 0.75, 0.625, math.inf, math.inf, math.inf]


def test_violation_is_the_sum_of_relative_excesses() -> None:
    objectives = [BITS.model_copy(update={"target": 2.0}), SECONDS.model_copy(update={"target": 0.5})]
    assert violation(one(0, 3.0, 1.0), objectives) == pytest.approx(0.5 + 1.0)
    assert violation(one(0, 2.0, 0.25), objectives) == 0.0
    assert violation(one(0, 9.0, 9.0), [BITS, SECONDS]) == 0.0


def test_feasible_first_then_by_violation() -> None:
    objectives = [BITS, Objective(name="latency_seconds", target=1.0)]
    rows = [one(0, 0.1, 3.0), one(1, 0.2, 2.0), one(2, 5.0, 1.0), one(3, 6.0, 1.0), one(4, 0.3, 2.0)]
    assert ranks_and_crowding(rows, objectives) == [
        (3, None),
        (2, None),
        (0, math.inf),
        (1, math.inf),
        (2, None),
    ]


def test_nsga2_thins_out_the_crowded_part_of_the_last_front() -> None:
    rows = [one(0, 0.0, 1.0), one(1, 0.50, 0.50), one(2, 0.51, 0.49), one(3, 0.9, 0.1), one(4, 1.0, 0.0)]
    # Crowding of 1, 2, 3 is 0.51, 0.40, 0.49; the ends' is infinite.
    assert survivors(NSGA2(NSGA2Config(survivors=4), [BITS, SECONDS], 5), rows) == [0, 1, 3, 4]
    assert survivors(NSGA2(NSGA2Config(survivors=2), [BITS, SECONDS], 5), rows) == [0, 4]


def test_a_harder_tournament_prefers_better_parents() -> None:
    rows = [one(number, float(number), float(number)) for number in range(8)]
    means = []
    for size in (1, 2, 8):
        algorithm = NSGA2(NSGA2Config(tournament_size=size, crossover_probability=0.0), [BITS], 8)
        algorithm.tell(rows)
        rng = np.random.default_rng(0)
        means.append(np.mean([int(algorithm.ask(ANYWHERE, rng).parent.split("-")[1]) for _ in range(500)]))
    assert means[0] == pytest.approx(3.5, abs=0.4)
    assert means[1] == pytest.approx(2.0, abs=0.3)  # the least of two different numbers below 8
    assert means[2] == 0.0


def test_fitness_by_hand() -> None:
    objectives = [
        BITS,
        Objective(name="latency_seconds", target=0.5, weight=2.0),
        Objective(name="num_params", target=100.0, weight=0.5),
        Objective(name="state_bytes"),
    ]
    metrics = {"val_bits_per_byte": 1.5, "latency_seconds": 0.75, "num_params": 300, "state_bytes": 10**9}
    row = Scored(0, 0, "a", "ok", metrics)
    (standing,) = Fitness(FitnessConfig(), objectives, 8).tell([row])
    assert standing.fitness == pytest.approx(-1.5 - 2.0 * 0.5 - 0.5 * 2.0)
    assert standing.violation == pytest.approx(0.5 + 2.0)
    assert standing.crowding is None


def test_fitness_keeps_the_best_scores_and_equal_scores_rank_equal() -> None:
    objectives = [BITS, Objective(name="latency_seconds", target=1.0, weight=1.0)]
    rows = [one(0, 1.0, 3.0), one(1, 2.0, 0.5), one(2, 2.0, 0.1), one(3, 2.5, 1.0)]
    algorithm = Fitness(FitnessConfig(survivors=2), objectives, 4)
    assert [standing.rank for standing in algorithm.tell(rows)] == [2, 0, 0, 1]
    assert survivors(algorithm, rows) == [1, 2]


def test_aging_kills_the_oldest_however_good() -> None:
    rows = [one(0, 0.0, 0.0), *(one(number, 5.0 + number, 5.0, birth=1) for number in range(4))]
    settings = RegularizedEvolutionConfig(survivors=4, tournament_size=64)
    algorithm = RegularizedEvolution(settings, [BITS, SECONDS], 4)
    standings = algorithm.tell(rows)
    assert [standing.survives for standing in standings] == [False, True, True, True, True]
    assert standings[0].rank == 0
    assert algorithm.ask(ANYWHERE, np.random.default_rng(0)) == Mutate("1-0")


def test_the_queue_holds_the_newest_of_several_generations() -> None:
    """With P = 6 and 4 a generation: all of the newest, and the two last of the one before."""
    algorithm = RegularizedEvolution(RegularizedEvolutionConfig(survivors=6), [BITS], 4)
    kept: list[Scored] = []
    for birth in range(3):
        merged = [*kept, *(one(number, 9.0 - birth - number, 1.0, birth=birth) for number in range(4))]
        told = algorithm.tell(merged)
        kept = [row for row, standing in zip(merged, told, strict=True) if standing.survives]
    assert sorted(row.key for row in kept) == [(1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)]


def test_a_sample_of_the_queue_is_drawn_with_replacement() -> None:
    """Real et al.: S random models, each with replacement; of S = P = 8 the best is missed in (7/8)^8 of samples."""
    algorithm = RegularizedEvolution(RegularizedEvolutionConfig(survivors=8, tournament_size=8), [BITS], 8)
    algorithm.tell([one(number, float(number), 1.0) for number in range(8)])
    rng = np.random.default_rng(0)
    missed = np.mean([algorithm.ask(ANYWHERE, rng) != Mutate("0-0") for _ in range(2000)])
    assert missed == pytest.approx((7 / 8) ** 8, abs=0.04)


def test_a_queue_of_any_size_has_a_sample_like_the_papers() -> None:
    def sizes(population: int) -> tuple[int, int]:
        made = RegularizedEvolution(RegularizedEvolutionConfig(), [BITS], population)
        return made.num_survivors, made.tournament_size

    assert [sizes(population) for population in (2, 12, 25, 16_384)] == [(8, 2), (48, 12), (100, 25), (65_536, 25)]


def test_crossover_in_regularized_evolution_is_refused() -> None:
    with pytest.raises(UserError, match=r"search.algorithm.crossover_probability: 0.3: .* only mutates; leave it out"):
        Config.parse({"search": {"algorithm": {"kind": "regularized_evolution", "crossover_probability": 0.3}}})
    Config.parse({"search": {"algorithm": {"kind": "regularized_evolution", "crossover_probability": 0}}})


def test_fitness_without_targets_is_refused_and_names_every_cost() -> None:
    said = r"search.objectives: latency_seconds, num_active_params without a target: .* give each one, .*algorithm.kind"
    with pytest.raises(UserError, match=said):
        Config.parse({"search": {"algorithm": {"kind": "fitness"}}})
    objectives = [{"name": "val_bits_per_byte"}, {"name": "latency_seconds", "target": 0.1}]
    Config.parse({"search": {"algorithm": {"kind": "fitness"}, "objectives": objectives}})
