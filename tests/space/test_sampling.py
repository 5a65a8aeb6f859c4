"""Sampling: always in the space, all of it, a function of the seed, fast."""

from __future__ import annotations

import time
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_core.errors import UserError
from harmony_core.space import Space, hyper_parameters, sample
from tests.space.spaces import FREE, SPACES, TINY, VOCAB, drawn, named, rng


@pytest.mark.parametrize("name", SPACES)
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_samples_are_in_the_space(name, seed):
    space = named(name)
    variation = sample(space, VOCAB, rng(seed))
    assert space.violations(variation.architecture) == []
    assert variation.operator == "sample"
    assert sample(space, VOCAB, rng(seed)) == variation


# What published models have of their own.
OPTIONS = {
    "nano": [("parallel", "ssm.norm", {"none", "gate_first"}), ("parallel", "ssm.inner_width", {None, 144, 192, 240})],
    "harmony": [
        ("gqa", "sinks", {False, True}),
        ("swa", "sinks", {False, True}),
        ("moe", "d_latent", {None, 512}),
        ("moe", "expert_bias", {False, True}),
        ("parallel", "ssm.norm", {"none", "gate_first"}),
        ("parallel", "ssm.n_groups", {1, 2}),
    ],
}


@pytest.mark.parametrize("name", ["nano", "harmony", "free"])
def test_samples_reach_everything(name):
    space, generator = named(name), rng(0)
    drawn_ones = [sample(space, VOCAB, generator).architecture for _ in range(400)]
    depths = {len(architecture.blocks) // space.unit_size for architecture in drawn_ones}
    assert {architecture.d_model for architecture in drawn_ones} == set(space.d_model)
    assert {architecture.tie_embeddings for architecture in drawn_ones} == set(space.tie_embeddings)
    assert {block.kind for architecture in drawn_ones for block in architecture.blocks} == set(space.blocks)
    assert len(depths) >= 0.8 * (space.depth.max - space.depth.min + 1)
    assert len({architecture.id for architecture in drawn_ones}) > 390
    for kind, field, values in OPTIONS.get(name, ()):
        blocks = [block for architecture in drawn_ones for block in architecture.blocks if block.kind == kind]
        assert {hyper_parameters.value(block, field) for block in blocks} == values, (kind, field)


def test_weights_set_how_often_a_kind_is_drawn():
    blocks = {**TINY["blocks"], "mqa": {**TINY["blocks"]["mqa"], "weight": 3}}
    space = Space.parse({**TINY, "blocks": blocks, "depth": {"min": 2, "max": 2}})
    generator = rng(0)
    kinds = Counter(b.kind for _ in range(1000) for b in sample(space, VOCAB, generator).architecture.blocks)
    assert kinds["mqa"] / (kinds["mqa"] + kinds["mha"]) == pytest.approx(0.75, abs=0.04)
    assert kinds["mlp"] == 2000


def test_rejected_draws_are_counted():
    space = Space.parse({**TINY, "constraints": {"count": {"mqa": {"max": 0}}}})
    generator = rng(0)
    rejected = Counter()
    for _ in range(100):
        rejected.update(sample(space, VOCAB, generator).rejected)
    assert list(rejected) == [("sample", "count of mqa above max 0")]
    # Half of the strata ask for an mqa, and are left for others after 16 draws.
    assert 16 * 25 < rejected.total() < 20 * 75


def test_an_impossible_budget_is_named():
    constraints = {"num_params": {"max": 10_000_000}, "kv_bytes_per_token": {"min": 1e9}}
    with pytest.raises(UserError) as raised:
        sample(Space.parse({**FREE, "constraints": constraints}), VOCAB, rng())
    assert raised.value.field == "space.constraints.kv_bytes_per_token"
    assert raised.value.value == "min 1000000000"
    assert "the space has no architecture above 1792; lower it" in str(raised.value)


def test_budgets_that_leave_nothing_together_are_named():
    # Few parameters, and a cache that only many heads have.
    constraints = {"num_params": {"max": 16_000}, "kv_bytes_per_token": {"min": 700}}
    with pytest.raises(UserError) as raised:
        sample(Space.parse({**FREE, "constraints": constraints}), VOCAB, rng())
    assert raised.value.field == "space.constraints"
    assert "none of 200 draws met the constraints" in str(raised.value)


def test_a_budget_between_two_depths_is_named():
    # One layer has at most 18,560 of them, and two have at least 26,816.
    with pytest.raises(UserError, match="num_params: min 20000, max 20010: it falls between what depths and widths"):
        sample(Space.parse({**TINY, "constraints": {"num_params": {"min": 20_000, "max": 20_010}}}), VOCAB, rng())


@pytest.mark.parametrize(("name", "seconds"), [("nano", 0.01), ("harmony", 0.03)])
def test_a_sample_takes_milliseconds(name, seconds):
    space, generator = named(name), rng(0)
    start = time.process_time()
    for _ in range(100):
        sample(space, VOCAB, generator)
    assert (time.process_time() - start) / 100 < seconds


def test_seeds_differ():
    assert len({drawn(named("nano"), seed).id for seed in range(50)}) == 50
