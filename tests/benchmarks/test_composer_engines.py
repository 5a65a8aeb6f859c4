"""The replay of Composer's engines on a small made-up table: what a draw is, what regret is, who is told to win."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.composer_engines import judge as judge_module
from benchmarks.composer_engines import table
from benchmarks.composer_engines.judge import BUDGETS, FRESH_DRAWS, difference, judge, judge_fresh, paired, promises
from benchmarks.composer_engines.replay import ENGINES, RANDOM, aggregated, chosen, draw, replay, replay_all
from benchmarks.trainings import Row
from harmony_core.store import Journal

VOCAB = 257
DESIGNS = table.designs(VOCAB)


# What a block of attention is worth, by its distance from the head; all sums of them differ.
WORTH = (0.071, 0.053, -0.031, -0.044, -0.017, -0.062)


def loss(design: str) -> float:
    """Deeper is better, and so is attention in the last two blocks alone."""
    return (
        4.0 - 0.2 * len(design) - sum(worth for worth, block in zip(WORTH, design[::-1], strict=False) if block == "A")
    )


BEST = min(DESIGNS, key=loss)
EXACT: table.Losses = {design: (loss(design),) * 3 for design in DESIGNS}


def test_the_table_has_every_design_once_on_every_seed() -> None:
    assert len(DESIGNS) == 126
    assert {len(design) for design in DESIGNS} == set(range(1, 7))
    keys = [one.key for one in table.trainings(VOCAB)]
    assert len(set(keys)) == len(keys) == 378
    assert "378 trainings of 65,536 tokens" in table.plan()


def test_a_failed_training_is_infinitely_bad_and_seeds_keep_their_order() -> None:
    rows: list[Row] = [
        {"design": "A", "seed": 1, "val_bits_per_byte": None},
        {"design": "A", "seed": 0, "val_bits_per_byte": 3.0},
    ]
    assert table.losses(rows) == {"A": (3.0, float("inf"))}


def test_a_draw_judges_by_the_seeds_that_a_trial_did_not_see() -> None:
    seeds: table.Losses = {design: (1.0, 2.0, 4.0) for design in DESIGNS}
    one = draw(seeds, 0)
    truths = {1.0: 3.0, 2.0: 2.5, 4.0: 1.5}
    assert all(one.truth[design] == truths[one.results[design]] for design in DESIGNS)
    assert set(one.results.values()) == {1.0, 2.0, 4.0}
    assert draw(dict(reversed(seeds.items())), 0) == one
    assert draw(seeds, 1) != one


def test_an_incremental_engine_pays_for_every_prefix_and_then_ends() -> None:
    world = draw(EXACT, 0)
    tried = replay(ENGINES["end_layer_1"], world, DESIGNS, 16)
    assert [len(design) for design in tried] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    assert len(set(tried)) == 12
    # What was best so far is what the next two begin with.
    for step in range(2, 12, 2):
        best = min(tried[step - 2 : step], key=loss)
        assert {design[:-1] for design in tried[step : step + 2]} == {best}
    assert chosen(tried[:8], world) == min(tried[:8], key=loss)


def test_random_tries_whole_designs_and_the_best_has_no_regret() -> None:
    world = draw(EXACT, 3)
    tried = replay(ENGINES[RANDOM], world, DESIGNS, 16)
    assert {len(design) for design in tried} == {6}
    assert len(set(tried)) == 16
    assert world.regret(BEST) == 0.0
    assert world.regret(chosen(tried, world)) == pytest.approx(min(map(loss, tried)) - loss(BEST))
    assert world.best(1) == [BEST]
    assert replay(ENGINES[RANDOM], world, DESIGNS, 16) == tried


def test_what_failed_is_never_gone_on_from() -> None:
    failing: table.Losses = {d: (float("inf"),) * 3 if d.startswith("A") else of for d, of in EXACT.items()}
    tried = replay(ENGINES["end_layer_1"], draw(failing, 0), DESIGNS, 6)
    assert sorted(tried[:2]) == ["A", "M"]
    assert all(design.startswith("M") for design in tried[2:])


def test_an_aggregator_takes_the_deepest_of_what_was_tried() -> None:
    world = draw(EXACT, 0)
    assert aggregated([*DESIGNS], world, DESIGNS, 0, 5) == BEST == "MMMMAA"
    assert aggregated(["A", "M", "AM", "MA", "MM"], world, DESIGNS, None, 3) == "MA"


def test_the_judgement_compares_pairs_and_counts_hits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chance stands in for Bayesian optimisation, which takes longer: the two engines are one."""
    monkeypatch.setitem(ENGINES, "one_shot", {"kind": "one_shot", "picks": "random"})
    for name in ("end_layer_2", "middle_layer_1", "middle_layer_2"):
        monkeypatch.delitem(ENGINES, name)
    found = judge(EXACT, DESIGNS, draws=range(6))
    assert found["regret"].keys() == {str(budget) for budget in BUDGETS}
    assert found["regret"]["8"]["one_shot"] == found["regret"]["8"][RANDOM]
    assert found["regret"]["8"][RANDOM]["p_against_random"] == 1.0
    assert found["regret"]["16"][RANDOM]["median"] <= found["regret"]["8"][RANDOM]["median"]
    assert found["best_by_all_seeds"][0] == BEST
    assert found["seeds_agree"]["spearman"] == pytest.approx(1.0)
    assert found["seeds_agree"]["spread_of_seeds"] == pytest.approx(0.0, abs=1e-9)
    assert promises(found)["one_shot_below_random"] is False
    better = {**found, "regret": {**found["regret"], "8": {"one_shot": {"median": 0.0}, RANDOM: {"median": 0.1}}}}
    assert promises(better)["one_shot_below_random"] is True


def test_fresh_draws_go_on_from_their_journal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(ENGINES, "one_shot", {"kind": "one_shot", "picks": "random"})
    monkeypatch.setattr(judge_module, "FRESH_DRAWS", FRESH_DRAWS[:2])
    journal = tmp_path / "draws.jsonl"
    replay_all([draw(EXACT, FRESH_DRAWS[0])], DESIGNS, 8, journal)
    found = judge_fresh(EXACT, DESIGNS, journal, is_over=True)
    assert (found["draws"], found["of"], found["regret"].keys()) == (1, 2, {"8"})
    found = judge_fresh(EXACT, DESIGNS, journal, is_over=False)
    assert found["draws"] == len(Journal(journal).records()) == 2
    # Draws that the journal has are not replayed, those of another table are.
    assert judge_fresh(EXACT, DESIGNS, journal, is_over=False) == found
    assert len(Journal(journal).records()) == 2
    other = {design: tuple(2 * loss for loss in of) for design, of in EXACT.items()}
    assert judge_fresh(other, DESIGNS, journal, is_over=False)["draws"] == 2
    assert len(Journal(journal).records()) == 4
    assert not {*range(30)} & {*FRESH_DRAWS}


def test_the_paired_test_sees_what_is_better_in_every_draw() -> None:
    rng = np.random.default_rng(0)
    worse = rng.random(30)
    assert paired(worse - 0.01 * rng.random(30), worse) < 1e-6
    assert paired(worse, worse) == 1.0
    found = difference(worse - 0.01, worse)
    assert [found[name] for name in ("mean_less_random", "low", "high")] == pytest.approx([-0.01] * 3)
    noisy = difference(worse - 0.01 + 0.1 * rng.normal(size=30), worse)
    assert noisy["low"] < noisy["mean_less_random"] < noisy["high"]
    assert 0.04 < noisy["high"] - noisy["low"] < 0.12
