"""The prior: every marginal is covered by a generation, and told as it is."""

from __future__ import annotations

import math
from collections import Counter

import pytest

from harmony_core.architecture import MHA, MLP, Architecture, Mamba2, MoE
from harmony_core.space import composition, draw_strata, prior_text, sample, space_prior
from tests.space.spaces import TINY, VOCAB, Space, named, rng


def generation(space, seed, count=12):
    strata = draw_strata(count, rng(seed))
    return [sample(space, VOCAB, rng([seed, index]), stratum).architecture for index, stratum in enumerate(strata)]


def test_strata_are_a_latin_hypercube():
    strata = draw_strata(10, rng(3))
    for name in ("depth", "size", "experts", "variety", "mixer"):
        assert sorted(int(getattr(one, name) * 10) for one in strata) == list(range(10))
    assert draw_strata(10, rng(3)) == strata
    assert draw_strata(0, rng(3)) == []


def test_a_generation_is_spread_over_depth_size_and_experts():
    space = named("nano")
    for seed in range(5):
        drawn = generation(space, seed, 20)
        assert Counter(len(one.blocks) // 2 for one in drawn) == dict.fromkeys(range(3, 8), 4)
        sizes = [math.log(one.num_active_non_embedding_params() / 500_000, 2.4) for one in drawn]
        # Within 2% of its stratum, which may be over a quarter's border.
        assert all(3 <= sum(low <= size < low + 0.25 for size in sizes) <= 7 for low in (0, 0.25, 0.5, 0.75))
        assert sum(any(block.kind == "moe" for block in one.blocks) for one in drawn) == 10
        one_kind = [one for one in drawn if len({block.kind for block in one.blocks[::2]}) == 1]
        assert 4 <= len(one_kind) <= 9


def test_a_stratum_without_architectures_is_left_for_another():
    space = Space.parse({**TINY, "constraints": {"num_params": {"max": 20_000}}})
    strata = draw_strata(8, rng(0))
    depths = {len(sample(space, VOCAB, rng(i), stratum).architecture.blocks) for i, stratum in enumerate(strata)}
    assert depths == {2}


def test_composition_by_hand():
    attention, mamba = MHA(num_heads=2, head_dim=16), Mamba2(head_dim=16)
    experts = MoE(n_routed=4, top_k=2, d_expert=8)
    first = Architecture(d_model=32, vocab_size=VOCAB, blocks=(attention, MLP(d_ff=64)))
    second = Architecture(d_model=64, vocab_size=VOCAB, blocks=(attention, experts, mamba, MLP(d_ff=64)))
    found = composition([first, second])
    assert (found.count, found.with_experts, found.one_mixer) == (2, 0.5, 0.5)
    assert found.mixers == {"mamba2": pytest.approx(1 / 3), "mha": pytest.approx(2 / 3)}
    assert found.channels == {"mlp": pytest.approx(2 / 3), "moe": pytest.approx(1 / 3)}
    assert found.widths == {32: 0.5, 64: 0.5}
    assert found.num_blocks == (2, 2.5, 3, 3.5, 4)
    assert (found.num_params[0], found.num_params[4]) == (first.num_params(), second.num_params())


def test_the_prior_is_a_function_of_the_space_and_is_printed():
    prior = space_prior(named("nano"), VOCAB, 60)
    assert prior == space_prior(named("nano"), VOCAB, 60)
    assert set(prior.mixers) == {kind for kind in named("nano").blocks if kind not in ("mlp", "moe")}
    text = prior_text(prior)
    assert text.startswith("prior of 60 samples ")
    assert "with experts                     50%" in text
    assert "blocks                           6, 8, 10, 12, 14" in text
