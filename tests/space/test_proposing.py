"""Proposing: nothing twice, everything thrown away counted, and an end when nothing is left."""

from __future__ import annotations

import pytest

from harmony_core.space import (
    DeadEnd,
    Ledger,
    Space,
    SpaceExhausted,
    Variation,
    every_architecture,
    mutate,
    num_architectures,
    propose,
    sample,
)
from tests.space.spaces import FREE, TINY, VOCAB, drawn, named, rng


def test_a_tiny_space_is_found_whole_and_then_exhausted():
    space, ledger, generator = Space.parse(TINY), Ledger(), rng(0)
    history: set[str] = set()
    for _ in range(2 + 4):
        history.add(propose(lambda: sample(space, VOCAB, generator), space, history, ledger).architecture.id)
    assert history == {architecture.id for architecture in every_architecture(space, VOCAB)}
    before = ledger.counts[("propose", "duplicate")]
    with pytest.raises(SpaceExhausted, match=r"200 duplicates\); the whole space was tried"):
        propose(lambda: sample(space, VOCAB, generator), space, history, ledger)
    assert ledger.counts[("propose", "duplicate")] == before + 200


def test_what_chance_does_not_find_is_looked_up():
    space, ledger = Space.parse(TINY), Ledger()
    everything = [architecture.id for architecture in every_architecture(space, VOCAB)]
    same = sample(space, VOCAB, rng(0))
    history = set(everything) - {everything[3]}
    if same.architecture.id == everything[3]:
        same = sample(space, VOCAB, rng(1))
    found = propose(lambda: same, space, history, ledger, max_draws=5)
    assert found.architecture.id == everything[3]
    assert ledger.counts == {("propose", "duplicate"): 5}


def test_a_large_space_ends_after_max_draws():
    space, ledger = named("nano"), Ledger()
    one = Variation(drawn(space), "sample")
    with pytest.raises(SpaceExhausted, match=r"in 7 draws \(7 duplicates\); it may hold more"):
        propose(lambda: one, space, {one.architecture.id}, ledger, max_draws=7)


def test_dead_ends_are_counted_and_passed_over():
    space, ledger = named("nano"), Ledger()
    outcomes = iter([DeadEnd("mutation", 200, {("mutation", "num_params above max 1"): 150}), None])

    def make() -> Variation:
        if (outcome := next(outcomes)) is not None:
            raise outcome
        return Variation(drawn(space), "sample", {("sample", "num_params above max 1"): 2})

    assert propose(make, space, set(), ledger).architecture == drawn(space)
    assert ledger.counts == {
        ("mutation", "dead end"): 1,
        ("mutation", "num_params above max 1"): 150,
        ("sample", "num_params above max 1"): 2,
    }


def test_no_duplicates_in_a_long_search():
    space, ledger, generator = named("free"), Ledger(), rng(4)
    parent = next(one for one in (drawn(space, seed) for seed in range(100)) if len(one.blocks) == 5)
    history = {parent.id}
    for _ in range(200):
        child = propose(lambda: mutate(space, parent, generator), space, history, ledger).architecture
        assert child.id not in history
        history.add(child.id)
    assert ledger.counts[("propose", "duplicate")] > 0


def test_sizes():
    assert num_architectures(Space.parse(TINY)) == 2 + 2**2
    assert len({a.id for a in every_architecture(Space.parse(TINY), VOCAB)}) == 6
    limited = Space.parse({**TINY, "constraints": {"count": {"mqa": {"max": 0}}}})
    assert len(list(every_architecture(limited, VOCAB))) == 2
    tied = Space.parse({**TINY, "tie_embeddings": [True, False]})
    assert len(list(every_architecture(tied, VOCAB))) == num_architectures(tied) == 12
    assert num_architectures(Space.parse(FREE)) > 10**9


def test_ledger_rows_are_sorted_and_add_up():
    ledger = Ledger()
    ledger.add("training", "diverged")
    ledger.add("propose", "duplicate", 2)
    ledger.merge({("training", "diverged"): 3})
    assert ledger.rows() == [
        {"stage": "propose", "reason": "duplicate", "count": 2},
        {"stage": "training", "reason": "diverged", "count": 4},
    ]
