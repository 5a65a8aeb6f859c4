"""The conformance suite: what every algorithm of the registry must do."""

import random

import numpy as np
import pytest

from harmony_core.evolution.algorithm import Algorithm
from harmony_core.evolution.algorithms import ALGORITHMS
from harmony_core.evolution.context import Context
from harmony_core.evolution.proposal import Mutate, Proposal, Sample, Take, parents
from harmony_core.evolution.scored import Scored
from harmony_core.search.config import Config, SearchConfig
from harmony_core.search.objective import Objective
from harmony_core.space import Space

OBJECTIVES = (Objective(name="val_bits_per_byte"), Objective(name="latency_seconds", target=0.6))
SURVIVORS = 6
ENGINES = {"one_shot", "end_layer", "middle_layer"}
CONTEXT = Context(Space.from_yaml("composer"), 256)
# How many parents a child may have; regularised evolution has no crossover, and engines make their own.
PARENTS = {
    "nsga2": {1, 2},
    "fitness": {1, 2},
    "regularized_evolution": {1},
    "random": {0},
    "one_shot": {0},
    "end_layer": {0},
    "middle_layer": {0},
}


def algorithm(kind: str, **settings: object) -> Algorithm:
    if kind == "regularized_evolution":
        settings.pop("crossover_probability", None)
    config = {"kind": kind, "survivors": SURVIVORS, **settings}
    return SearchConfig(population=20, objectives=OBJECTIVES, algorithm=config).make_algorithm()


def ask(one: Algorithm, rng: np.random.Generator) -> Proposal:
    return one.ask(CONTEXT, rng)


def is_fresh(kind: str, proposal: Proposal) -> bool:
    """Whether it comes from nobody: a sample, or what an engine begins with."""
    return isinstance(proposal, Take) if kind in ENGINES else proposal == Sample()


def scored(birth: int, candidate: int, bits: float | None, seconds: float | None) -> Scored:
    metrics = {"val_bits_per_byte": bits, "latency_seconds": seconds}
    return Scored(birth, candidate, f"id-{birth}-{candidate}", "ok" if bits is not None else "diverged", metrics)


def crowd(seed: int = 0, count: int = 20) -> list[Scored]:
    """Candidates of two generations, with ties and failures among them."""
    rng = np.random.default_rng(seed)
    values = np.round(rng.random((count, 2)), 1)
    rows = [scored(i // 10, i % 10, float(values[i, 0]), float(values[i, 1])) for i in range(count)]
    rows[3] = scored(0, 3, None, None)
    rows[14] = scored(1, 4, None, 0.1)
    rows[7] = scored(0, 7, rows[6].metrics["val_bits_per_byte"], rows[6].metrics["latency_seconds"])
    return rows


@pytest.fixture(params=sorted(ALGORITHMS))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_kind_of_the_configuration_is_registered() -> None:
    choices = Config.model_json_schema()["$defs"]["SearchConfig"]["properties"]["algorithm"]["anyOf"]
    kinds = [one["properties"]["kind"]["const"] for one in choices]
    assert sorted(kinds) == sorted(ALGORITHMS) == sorted(PARENTS)


def test_the_order_of_the_candidates_has_no_effect(kind: str) -> None:
    # On top of the crowd, a front on which every point is there twice: crowding must break no tie by order.
    rows = [*crowd(), *(scored(2, i, (i // 2 - 6) / 10, (5 - i // 2) / 10) for i in range(12))]
    expected = dict(zip([one.key for one in rows], algorithm(kind).tell(rows), strict=True))
    for seed in range(5):
        shuffled = random.Random(seed).sample(rows, len(rows))
        told = algorithm(kind)
        assert dict(zip([one.key for one in shuffled], told.tell(shuffled), strict=True)) == expected
        reference = algorithm(kind)
        reference.tell(rows)
        asks = [[ask(one, np.random.default_rng(9)) for _ in range(20)] for one in (told, reference)]
        assert asks[0] == asks[1]


def test_no_global_random_numbers_are_used(kind: str) -> None:
    answers = []
    for seed in (0, 1):
        np.random.seed(seed)
        random.seed(seed)
        one = algorithm(kind)
        answers.append((one.tell(crowd()), [ask(one, np.random.default_rng(3)) for _ in range(9)]))
        assert np.random.random() == np.random.RandomState(seed).random()
        assert random.random() == random.Random(seed).random()
    assert answers[0] == answers[1]


def test_all_state_comes_from_the_last_tell(kind: str) -> None:
    used, fresh = algorithm(kind), algorithm(kind)
    used.tell(crowd(seed=5))
    ask(used, np.random.default_rng(0))
    assert used.tell(crowd()) == fresh.tell(crowd())
    assert ask(used, np.random.default_rng(0)) == ask(fresh, np.random.default_rng(0))


def test_as_many_survive_as_asked_for(kind: str) -> None:
    assert sum(one.survives for one in algorithm(kind).tell(crowd())) == SURVIVORS
    few = [scored(0, 0, 1.0, 1.0), scored(0, 1, None, None), scored(0, 2, 2.0, 2.0)]
    assert [one.survives for one in algorithm(kind).tell(few)] == [True, False, True]


def test_failures_rank_last_and_never_survive_nor_breed(kind: str) -> None:
    rows = crowd(count=7 + 10)
    one = algorithm(kind, survivors=17, tournament_size=1, crossover_probability=1.0)
    standings = one.tell(rows)
    worst = max(standing.rank for standing, row in zip(standings, rows, strict=True) if row.ok)
    for row, standing in zip(rows, standings, strict=True):
        if not row.ok:
            assert standing.rank == worst + 1
            assert not standing.survives
            assert (standing.violation, standing.crowding, standing.fitness) == (None, None, None)
    rng = np.random.default_rng(0)
    asked = {parent for _ in range(300) for parent in parents(ask(one, rng))}
    assert asked.isdisjoint(row.architecture_id for row in rows if not row.ok)


def test_when_all_failed_nobody_survives_and_samples_are_asked_for(kind: str) -> None:
    one = algorithm(kind)
    one.tell(crowd())
    assert [s.survives for s in one.tell([scored(0, i, None, None) for i in range(3)])] == [False] * 3
    assert is_fresh(kind, ask(one, np.random.default_rng(0)))


def test_nobody_told_means_samples(kind: str) -> None:
    one = algorithm(kind)
    assert is_fresh(kind, ask(one, np.random.default_rng(0)))
    assert one.tell([]) == []
    assert is_fresh(kind, ask(one, np.random.default_rng(0)))


def test_parents_are_survivors_and_two_parents_differ(kind: str) -> None:
    one = algorithm(kind, crossover_probability=0.5)
    rows = crowd()
    kept = {r.architecture_id for r, s in zip(rows, one.tell(rows), strict=True) if s.survives}
    rng = np.random.default_rng(0)
    asked = [parents(ask(one, rng)) for _ in range(300)]
    assert {parent for ids in asked for parent in ids} <= kept
    assert all(len(set(ids)) == len(ids) for ids in asked)
    counts = {len(ids) for ids in asked}
    assert counts == PARENTS[kind]


def test_a_lone_survivor_is_mutated(kind: str) -> None:
    one = algorithm(kind, crossover_probability=1.0)
    one.tell([scored(0, 0, 1.0, 0.1), scored(0, 1, None, None)])
    asked = ask(one, np.random.default_rng(0))
    assert is_fresh(kind, asked) if PARENTS[kind] == {0} else asked == Mutate("id-0-0")


def test_the_defaults_of_an_algorithm_are_its_own(kind: str) -> None:
    one = SearchConfig(population=12, objectives=OBJECTIVES, algorithm={"kind": kind}).make_algorithm()
    survivors, tournament, crossover = (48, 12, 0.0) if kind == "regularized_evolution" else (12, 6, 0.3)
    assert (one.num_survivors, one.tournament_size, one.crossover_probability) == (survivors, tournament, crossover)


def test_what_is_configured_is_no_default(kind: str) -> None:
    one = algorithm(kind, survivors=3, tournament_size=1, crossover_probability=0.0)
    assert (one.num_survivors, one.tournament_size, one.crossover_probability) == (3, 1, 0.0)


def test_a_dominated_candidate_never_outranks_its_dominator(kind: str) -> None:
    rows = [row for row in crowd(seed=2, count=20) if row.ok]
    standings = dict(zip([row.key for row in rows], algorithm(kind).tell(rows), strict=True))
    for a in rows:
        for b in rows:
            pairs = [(a.value(o.name), b.value(o.name)) for o in OBJECTIVES]
            if all(x <= y for x, y in pairs) and any(x < y for x, y in pairs):
                assert standings[a.key].rank <= standings[b.key].rank


def test_an_ok_candidate_without_a_measure_is_a_mistake(kind: str) -> None:
    row = Scored(0, 0, "id", "ok", {"val_bits_per_byte": None, "latency_seconds": 0.1})
    with pytest.raises(ValueError, match="has no val_bits_per_byte"):
        algorithm(kind).tell([row])


@pytest.mark.parametrize("metric", ["val_bits_per_byte", "latency_seconds"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_value_that_is_not_finite_is_never_told(kind: str, metric: str, value: float) -> None:
    """It would be kept, and the best dropped: neither of the two dominates the other."""
    metrics = {"val_bits_per_byte": 1.0, "latency_seconds": 0.1, metric: value}
    with pytest.raises(ValueError, match=f"candidate 2 of generation 1: {metric} -?(nan|inf): its row claims to be ok"):
        algorithm(kind).tell([scored(0, 0, 0.5, 0.05), Scored(1, 2, "id", "ok", metrics)])
    failed = Scored(1, 2, "id", "diverged", metrics)
    assert [one.survives for one in algorithm(kind).tell([scored(0, 0, 0.5, 0.05), failed])] == [True, False]


@pytest.mark.parametrize("metric", ["val_bits_per_byte", "latency_seconds"])
def test_an_objective_without_a_value_is_refused_by_its_name(kind: str, metric: str) -> None:
    metrics: dict[str, float | None] = {"val_bits_per_byte": 1.0, "latency_seconds": 0.1, metric: None}
    with pytest.raises(ValueError, match=f"candidate 2 of generation 1: has no {metric}: "):
        algorithm(kind).tell([scored(0, 0, 0.5, 0.05), Scored(1, 2, "id", "ok", metrics)])
