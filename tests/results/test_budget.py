"""A budget closes generations, by a rule that depends on recorded rows alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
import pytest

from harmony_core.evolution.generation import mutate_generation, select_generation
from harmony_core.results.budget import Account, Allowance, promotion_allowance, spending
from harmony_core.store import (
    LATENCY,
    LEDGER,
    POPULATION,
    SELECTION,
    TRAINING,
    SearchFolder,
    queries,
    read_table,
    write_table,
)

Start = Callable[..., SearchFolder]
Measure = Callable[..., None]
COST = 90.0


def hours(candidates: float) -> dict[str, Any]:
    """A budget of so many candidates, none of them promoted."""
    return {"budget": {"gpu_hours": candidates * COST / 3600}, "promote": {"top_k": 0}}


def step(folder: SearchFolder, measure: Measure, generations: Sequence[int], cost: float = COST) -> None:
    """Whole generations, one after another, in which no candidate fails: each then has a cost in latency too."""
    for generation in generations:
        mutate_generation(folder, generation)
        measure(folder, generation, cost=cost)
        same_cost(folder, generation, cost)
        select_generation(folder, generation)


def same_cost(folder: SearchFolder, generation: int, cost: float) -> None:
    """Gives candidates that failed, and have no latency, the cost of the others."""
    for path in folder.shards(generation, "training"):
        failed = pl.col("status") != "ok"
        rows = read_table(path, TRAINING).with_columns(
            device_seconds=pl.when(failed).then(cost).otherwise(pl.col("device_seconds"))
        )
        write_table(path, rows.to_dicts(), TRAINING)


def sizes(folder: SearchFolder) -> list[int]:
    return [read_table(folder.population(generation), POPULATION).height for generation in folder.generations()]


def left_out(folder: SearchFolder, generation: int) -> list[tuple[str, int]]:
    """Reason and count of the candidates that the budget left out."""
    rows = read_table(folder.ledger(generation), LEDGER).filter(pl.col("reason").str.starts_with("budget"))
    return rows.select("reason", "count").rows()


def renew(folder: SearchFolder, **sections: Any) -> None:
    """As a new start with a changed configuration does."""
    folder.config.parent.mkdir(parents=True, exist_ok=True)
    folder.config.write_text(json.dumps(sections))


@pytest.mark.parametrize(
    ("account", "wanted", "paid"),
    [
        (Account(1000.0, 0.0, 100.0), 8, 8),
        (Account(1000.0, 0.0, 100.0), 10, 10),
        (Account(1000.0, 0.0, 100.0), 11, 10),
        (Account(1000.0, 0.0, 300.0), 8, 3),
        (Account(1000.0, 600.0, 100.0), 8, 4),
        (Account(1000.0, 600.0, 100.0, in_flight=2), 8, 2),
        (Account(1000.0, 600.0, 100.0, in_flight=3), 8, 0),
        (Account(1000.0, 1000.0, 100.0), 8, 0),
        (Account(1000.0, 4000.0, 100.0), 8, 0),
        # What costs nothing fits in whatever is left, and in nothing if nothing is.
        (Account(1000.0, 600.0, 0.0), 8, 8),
        (Account(1000.0, 1001.0, 0.0), 8, 0),
    ],
)
def test_the_rest_pays_for_whole_candidates_and_for_no_single_one(account: Account, wanted: int, paid: int) -> None:
    allowance = account.allow(wanted, least=2)
    assert (allowance.wanted, allowance.paid) == (wanted, paid)
    assert (allowance.reason == "") == (paid == wanted)


def test_one_may_be_enough_and_may_cost_more() -> None:
    account = Account(1000.0, 600.0, 100.0)
    assert account.allow(8, scale=3.9).paid == 1
    assert account.allow(8, scale=4.1).paid == 0
    assert account.allow(8, scale=0.5).paid == 8


def test_the_reason_says_what_was_spent_and_what_a_candidate_costs() -> None:
    account = Account(2 * 3600.0, 1.98 * 3600, 0.25 * 3600, in_flight=2)
    told = "budget of 2 GPU-hours: 1.98 spent, 0.5 under way, 0.25 a candidate"
    assert account.allow(8) == Allowance(8, 0, told)
    large = Account(1_200_000 * 3600.0, 1_198_765.4 * 3600, 1500 * 3600.0)
    assert large.allow(1).reason == "budget of 1,200,000 GPU-hours: 1,198,765 spent, 1,500 a candidate"


def test_generations_close_when_the_budget_is_spent(start: Start, measure: Measure) -> None:
    folder = start(sections=hours(20.5))
    step(folder, measure, range(5))
    assert sizes(folder) == [8, 8, 4, 0, 0]
    assert [left_out(folder, generation) for generation in (0, 1)] == [[], []]
    told = "budget of 0.5125 GPU-hours: 0.4 spent, 0.025 a candidate"
    assert left_out(folder, 2) == [(told, 4)]
    assert left_out(folder, 3) == left_out(folder, 4) == [(told.replace("0.4 ", "0.5 "), 8)]
    assert mutate_generation(folder, 2).reasons == (told,)
    last = read_table(folder.selection(4), SELECTION)
    before = read_table(folder.selection(2), SELECTION).filter(pl.col("survives"))
    assert last["architecture_id"].to_list() == before["architecture_id"].to_list()
    assert last["survives"].all()


def test_what_promotion_needs_is_kept_back(start: Start, measure: Measure) -> None:
    promoted = {"top_k": 2, "replicates": 3, "baselines": ["llama-nano"]}
    folder = start(sections={**hours(20.5), "promote": promoted})
    step(folder, measure, range(3))
    # Nine trainings of promotion: 20.5 - 8 - 9 leaves three.
    assert sizes(folder) == [8, 3, 0]
    assert "0.225 kept for promotion" in left_out(folder, 1)[0][0]
    assert promotion_allowance(folder, 3).paid == 3


def test_a_generation_of_one_is_not_bred(start: Start, measure: Measure) -> None:
    folder = start(sections=hours(9.5))
    step(folder, measure, range(2))
    assert sizes(folder) == [8, 0]


@pytest.mark.parametrize(("lag", "whole"), [(0, 1), (1, 2)])
def test_generations_that_nothing_was_measured_for_are_whole(
    start: Start, measure: Measure, lag: int, whole: int
) -> None:
    folder = start(lag=lag, sections={"budget": {"gpu_hours": 1e-9}})
    step(folder, measure, range(4))
    assert sizes(folder) == [8] * whole + [0] * (4 - whole)


def test_no_budget_closes_nothing(start: Start, measure: Measure) -> None:
    folder = start()
    step(folder, measure, range(4), cost=1e9)
    assert sizes(folder) == [8] * 4
    assert spending(folder) is None


def test_a_budget_that_suffices_changes_nothing(start: Start, measure: Measure) -> None:
    free, bounded = start("free"), start("bounded", sections=hours(1000))
    for folder in (free, bounded):
        step(folder, measure, range(3))
    ids = [queries.population(folder).collect()["architecture_id"].to_list() for folder in (free, bounded)]
    assert ids[0] == ids[1]


def test_a_smaller_generation_is_the_beginning_of_the_whole_one(start: Start, measure: Measure) -> None:
    free, bounded = start("free"), start("bounded", sections=hours(11))
    for folder in (free, bounded):
        step(folder, measure, range(2))
    whole, smaller = (read_table(one.population(1), POPULATION)["architecture_id"].to_list() for one in (free, bounded))
    assert smaller == whole[:3]


def test_generations_in_flight_count_at_the_mean(start: Start, measure: Measure) -> None:
    folder = start(lag=1, sections=hours(20.5))
    step(folder, measure, [0])
    assert mutate_generation(folder, 1).candidates == 8
    bred = mutate_generation(folder, 2)  # while generation 1 trains
    assert bred.candidates == 4
    assert "0.2 spent, 0.2 under way" in bred.reasons[0]
    decided = folder.population(2).read_bytes(), folder.ledger(2).read_bytes()
    measure(folder, 1, cost=5 * COST)  # it was dearer than expected
    mutate_generation(folder, 2)
    assert (folder.population(2).read_bytes(), folder.ledger(2).read_bytes()) == decided
    select_generation(folder, 1)
    assert mutate_generation(folder, 3).candidates == 0


def test_every_decision_can_be_derived_again(start: Start, measure: Measure) -> None:
    folder = start(sections=hours(20.5))
    step(folder, measure, range(5))
    files = [place(generation) for generation in range(5) for place in (folder.population, folder.ledger)]
    recorded = [path.read_bytes() for path in files]
    for generation in (3, 1, 4, 2, 0):
        for path in folder.shards(generation, "training"):
            rows = read_table(path, TRAINING).to_dicts()
            write_table(path, rows[::-1], TRAINING)
        mutate_generation(folder, generation)
    assert [path.read_bytes() for path in files] == recorded


def test_lost_time_of_failures_and_measurements_counts(start: Start, measure: Measure) -> None:
    folder = start(sections=hours(20.5))
    mutate_generation(folder, 0)
    measure(folder, 0, fail=True, cost=COST)  # 0.9 of the cost each, and no latency
    select_generation(folder, 0)
    assert spending(folder) == "0.18 of 0.5125 GPU-hours"
    measure(folder, 0, cost=COST)
    alive = pl.concat([read_table(path, LATENCY) for path in folder.shards(0, "latency")])["candidate"].n_unique()
    assert spending(folder) == f"{(7.2 + 0.1 * alive) * COST / 3600:.3g} of 0.5125 GPU-hours"


def test_a_raised_budget_leaves_closed_generations_closed_and_goes_on(start: Start, measure: Measure) -> None:
    folder = start(sections=hours(10))
    step(folder, measure, range(3))
    assert sizes(folder) == [8, 2, 0]
    renew(folder, **hours(100))
    step(folder, measure, [3])
    assert sizes(folder) == [8, 2, 0, 8]
    parents = {parent for row in read_table(folder.population(3), POPULATION)["parents"] for parent in row}
    assert parents <= set(read_table(folder.selection(2), SELECTION)["architecture_id"])
    renew(folder)
    assert spending(folder) is None


def test_an_extended_search_counts_what_promotion_took(start: Start, measure: Measure) -> None:
    folder = start(sections=hours(20.5))
    step(folder, measure, [0])
    row = read_table(folder.shard(0, "training", 0), TRAINING).to_dicts()[0]
    promoted = [{**row, "generation": None, "device_seconds": 7 * COST}]
    write_table(folder.shard(None, "training", 0), promoted, TRAINING)
    assert spending(folder) == "0.375 of 0.5125 GPU-hours"
    step(folder, measure, [1])
    assert spending(folder) == "0.5 of 0.5125 GPU-hours"
    assert spending(folder, 0) == "0.375 of 0.5125 GPU-hours"
    assert mutate_generation(folder, 1).candidates == 5


def test_promotion_is_paid_by_tokens_and_replicates(start: Start, measure: Measure) -> None:
    recipe = {"tokens": 100_000, "batch_size": 4, "sequence_length": 250}
    sections = {**hours(20.5), "recipe": recipe, "promote": {"top_k": 0, "replicates": 2, "tokens": 200_000}}
    folder = start(sections=sections)
    step(folder, measure, [0])
    assert promotion_allowance(folder, 3) == Allowance(3, 3)
    few = promotion_allowance(folder, 9)
    assert (few.paid, few.reason) == (3, "budget of 0.5125 GPU-hours: 0.2 spent, 0.1 a candidate")
    step(folder, measure, [1])
    assert promotion_allowance(folder, 9).paid == 1
    # Done again after its own rows were written, it decides the same.
    row = read_table(folder.shard(0, "training", 0), TRAINING).to_dicts()[0]
    write_table(folder.shard(None, "training", 0), [{**row, "generation": None}], TRAINING)
    assert promotion_allowance(folder, 9).paid == 1
    step(folder, measure, [2])
    assert promotion_allowance(folder, 9).paid == 0
