"""The mixture's options: what they cost, and spellings of one operator."""

import pytest

from harmony_core.architecture import MLP, Architecture, MoE

BASE = {"n_routed": 8, "top_k": 2, "d_expert": 12}


def id_of(**options):
    return Architecture(d_model=16, vocab_size=32, blocks=[MoE(**BASE, **options)]).id


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"n_shared": 2}, {"n_shared": 1, "d_shared": 24}),
        ({"n_shared": 3, "d_shared": 20}, {"n_shared": 1, "d_shared": 20}),
        ({}, {"n_groups": 4, "top_groups": 4, "group_score": "top2"}),
        ({}, {"capacity_factor": 4.0}),
    ],
)
def test_two_spellings_are_one_architecture(one, other):
    first, second = MoE(**BASE, **one), MoE(**BASE, **other)
    assert first.canonical() == second.canonical()
    assert first.canonical().canonical() == first.canonical()
    assert id_of(**one) == id_of(**other)
    assert first.num_params(16) == second.num_params(16) == second.canonical().num_params(16)


@pytest.mark.parametrize(
    "options",
    [
        {"n_groups": 4, "top_groups": 1},
        {"n_groups": 4, "top_groups": 2, "group_score": "top2"},
        {"capacity_factor": 3.9},
        {"n_shared": 1, "d_shared": 20},
        {"n_shared": 1, "shared_bias": True},
        {"routed_scale": 2.0},
        {"activation": "geglu"},
    ],
)
def test_what_computes_something_else_has_another_id(options):
    assert id_of(**options) != id_of()


def test_shared_network_by_hand():
    block = MoE(**BASE, n_shared=1, d_shared=20, shared_bias=True, activation="geglu")
    routed, shared, biases = 3 * 16 * 12, 3 * 16 * 20, 2 * 20 + 16
    assert block.num_params(16) == 16 * 8 + 8 * routed + shared + biases
    assert block.num_active_params(16) == 16 * 8 + 2 * routed + shared + biases
    assert block.forward_flops_per_token(16, 64, "prefill") == 2 * (16 * 8 + 2 * routed + shared)


def test_dense_network_with_biases_by_hand():
    assert MLP(d_ff=20, activation="bilinear", bias=True).num_params(16) == 3 * 16 * 20 + 2 * 20 + 16
    assert MLP(d_ff=20, activation="relu2", bias=True).num_params(16) == 2 * 16 * 20 + 20 + 16
