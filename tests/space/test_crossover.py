"""Crossover: a cut at one depth, in the space, unlike both parents."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_core.architecture import MLP, Architecture
from harmony_core.space import DeadEnd, Space, crossover
from tests.space.spaces import FREE, VOCAB, drawn, named, rng

seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("name", ["nano", "harmony", "free"])
@given(first_seed=seeds, second_seed=seeds, seed=seeds)
@settings(max_examples=40, deadline=None)
def test_conformance(name, first_seed, second_seed, seed):
    space = named(name)
    first, second = drawn(space, first_seed), drawn(space, second_seed)
    before = (first.to_json(), second.to_json())
    try:
        child = crossover(space, first, second, rng(seed))
    except DeadEnd:
        assert first.id == second.id or name == "free"
        return
    assert (first.to_json(), second.to_json()) == before
    assert space.violations(child.architecture) == []
    assert child.architecture.id not in (first.id, second.id)
    assert child.architecture.d_model in (first.d_model, second.d_model)
    assert len(child.architecture.blocks) == len(second.blocks)
    assert crossover(space, first, second, rng(seed)) == child


def test_most_pairs_have_children():
    space, generator = named("nano"), rng(3)
    parents = [drawn(space, seed) for seed in range(100)]
    dead_ends = 0
    for first, second in pairwise(parents):
        try:
            crossover(space, first, second, generator)
        except DeadEnd:
            dead_ends += 1
    assert dead_ends == 0


def test_every_cut_is_at_one_depth():
    space = Space.parse({**FREE, "constraints": {"num_mixers": {}}})
    first = Architecture(d_model=32, vocab_size=VOCAB, blocks=(MLP(d_ff=32),) * 3)
    second = Architecture(d_model=48, vocab_size=VOCAB, blocks=(MLP(d_ff=64),) * 5)
    found = set()
    for seed in range(100):
        child = crossover(space, first, second, rng(seed)).architecture
        found.add((child.d_model, *(block.d_ff for block in child.blocks)))
    tails = {(32, 64, 64, 64, 64), (32, 32, 64, 64, 64), (32, 32, 32, 64, 64)}
    assert found == {(d_model, *tail) for d_model in (32, 48) for tail in tails}


def test_a_pair_of_twins_is_a_dead_end():
    parent = drawn(named("nano"))
    with pytest.raises(DeadEnd) as raised:
        crossover(named("nano"), parent, parent, rng())
    assert raised.value.rejected == {("crossover", "same as a parent"): 50}
