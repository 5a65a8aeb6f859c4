"""What is expected of a training: order learned from what was measured, and no nonsense from little of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.made_up import blank
from harmony_core.architecture import Architecture
from harmony_core.evaluation import duration_model
from harmony_core.evaluation.duration_model import DurationModel
from harmony_core.machines import Machine
from harmony_core.search.opened import OpenedSearch
from harmony_core.space import Space, sample
from harmony_core.store import POPULATION, TRAINING, population_row, write_table
from harmony_core.training.recipe import Recipe

RECIPE = Recipe(batch_size=4, sequence_length=64, tokens=64_000)
# By how much a machine is slower at each kind than the roofline says.
OFF = {"mamba2": 9.0, "mamba2+mlp": 9.0, "mlp": 0.5, "moe": 5.0, "mha": 1.0, "mqa": 0.8, "gqa": 1.2, "mla": 3.0}

MLP = {"kind": "mlp", "d_ff": 32}
GQA = {"kind": "gqa", "num_heads": 2, "num_kv_heads": 1, "head_dim": 16}


def new() -> DurationModel:
    return DurationModel(Machine.from_yaml("cpu"), RECIPE)


def sampled(count: int, seed: int = 0) -> list[Architecture]:
    space, generator = Space.from_yaml("nano"), np.random.default_rng(seed)
    return [sample(space, 257, generator).architecture for _ in range(count)]


def really(architectures: list[Architecture], noise: float = 0.05, seed: int = 0) -> list[float]:
    """Seconds on a machine that is 3 times slower than the roofline, and by `OFF` at some kinds."""
    generator, priced = np.random.default_rng(seed), new()
    return [
        sum(3.0 * OFF.get(kind, 1.0) * price for kind, price in priced._prices(one).items())
        * float(np.exp(noise * generator.standard_normal()))
        for one in architectures
    ]


def correlation(expected: list[float], measured: list[float]) -> float:
    """Spearman's: of ranks."""
    ranks = [np.argsort(np.argsort(values)) for values in (expected, measured)]
    return float(np.corrcoef(*ranks)[0, 1])


def test_the_kinds_that_are_made_up_exist() -> None:
    """Else the tests below would be about a machine that the roofline knows."""
    kinds = {kind for one in sampled(100) for kind in new()._prices(one)}
    assert {"mamba2", "mlp", "moe", "mha", "mqa", "gqa", "mla"} <= kinds


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_order_becomes_right_from_what_was_measured(noise: float) -> None:
    seen, unseen = sampled(96, seed=1), sampled(200, seed=2)
    measured, truth = really(seen, noise, seed=3), really(unseen, noise=0.0)
    learned = new()
    before = correlation([learned.seconds(one) for one in unseen], truth)
    learned.learn(seen, measured)
    after = correlation([learned.seconds(one) for one in unseen], truth)
    assert after > 0.97
    assert after > before + 0.05
    # And the times themselves, which make an ETA.
    ratios = [learned.seconds(one) / true for one, true in zip(unseen, truth, strict=True)]
    assert 0.8 < np.median(ratios) < 1.25


def test_without_measurements_it_is_the_cost_model() -> None:
    (one,) = sampled(1)
    empty = new()
    empty.learn([], [])
    assert empty.seconds(one) == pytest.approx(sum(empty._prices(one).values()))


def test_few_measurements_move_everything_by_the_overall_ratio() -> None:
    seen, unseen = sampled(3, seed=1), sampled(20, seed=2)
    learned, price = new(), new()
    learned.learn(seen, [7.0 * price.seconds(one) for one in seen])
    assert [learned.seconds(one) / price.seconds(one) for one in unseen] == pytest.approx([7.0] * 20)


def test_a_kind_that_was_hardly_trained_keeps_about_the_others_correction() -> None:
    def built(*blocks: dict[str, Any]) -> Architecture:
        return Architecture.parse({"d_model": 32, "vocab_size": 257, "blocks": list(blocks)})

    plain = [built(*[GQA, MLP] * depth) for depth in range(1, 9)]
    mamba = {"kind": "mamba2", "d_state": 16, "head_dim": 16}
    odd, never = built(GQA, MLP, GQA, MLP, mamba), built(mamba, mamba)
    price, learned = new(), new()
    # One measurement of a hybrid, a hundred times too slow: a machine that was busy with something else.
    seconds = [2.0 * price.seconds(one) for one in plain] + [200.0 * price.seconds(odd)]
    learned.learn([*plain, odd], seconds)
    assert learned.seconds(plain[3]) / price.seconds(plain[3]) == pytest.approx(2.0, rel=0.2)
    assert 1.0 < learned.seconds(never) / price.seconds(never) < 4.0


@pytest.mark.parametrize("seed", range(10))
def test_whatever_was_measured_it_is_positive(seed: int) -> None:
    generator = np.random.default_rng(seed)
    seen, unseen = sampled(30, seed=seed), sampled(30, seed=100 + seed)
    learned = new()
    learned.learn(seen, (10.0 ** generator.uniform(-3, 4, len(seen))).tolist())
    expected = [learned.seconds(one) for one in [*seen, *unseen]]
    assert np.isfinite(expected).all()
    assert min(expected) > 0


class TestOfASearch:
    """Which of a search's rows are learned from."""

    def test_only_generations_before_count_and_only_what_ran_to_its_end(
        self, prepared: Callable[..., OpenedSearch]
    ) -> None:
        setting = prepared()
        trained(setting, 0, [("ok", 3.0), ("out_of_memory", 900.0), ("ok", 3.0), ("crashed", 0.0)])
        trained(setting, 1, [("ok", 70.0)] * 4)
        (one,) = sampled(1)
        cost = new().seconds(one)
        ratios = [DurationModel.of(setting, RECIPE, before).seconds(one) / cost for before in (0, 1)]
        assert ratios == pytest.approx([1.0, 3.0])
        assert DurationModel.of(setting, RECIPE, None).seconds(one) / cost > 10.0

    def test_a_large_search_is_learned_from_its_newest(
        self, prepared: Callable[..., OpenedSearch], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(duration_model, "_MOST_TRAININGS", 6)
        setting = prepared()
        trained(setting, 0, [("ok", 900.0)] * 4)
        trained(setting, 1, [("ok", 5.0)] * 4)
        trained(setting, 2, [("ok", 5.0)] * 2)
        (one,) = sampled(1)
        assert DurationModel.of(setting, RECIPE, None).seconds(one) / new().seconds(one) == pytest.approx(5.0)


def trained(setting: OpenedSearch, generation: int, ends: list[tuple[str, float]]) -> None:
    """Writes a generation whose members took so many times what the cost model says, and ended so."""
    born, rows = [], []
    for index, (status, factor) in enumerate(ends):
        architecture = sampled(1, seed=10 * generation + index)[0]
        names = {"search": "small", "generation": generation, "candidate": index}
        born.append(population_row(architecture, **names, sequence_length=64, origin="sample", operator="given"))
        seconds = factor * new().seconds(architecture)
        rows.append({**blank(TRAINING), **names, "status": status, "steps": RECIPE.num_steps, "seconds": seconds})
    write_table(setting.folder.population(generation), born, POPULATION)
    write_table(setting.folder.shard(generation, "training", 0), rows, TRAINING)
