"""Repair: the edit stays, the budget holds, and as little as will do changes beside it."""

from __future__ import annotations

import pytest

from benchmarks.variation import distance, measure
from harmony_core.architecture import MHA, MLP, Architecture, Mamba2, MoE
from harmony_core.space import MUTATIONS, Edit, Space, every_architecture, repair
from harmony_core.space.mutations.hyper_parameter import hyper_parameter
from tests.space.spaces import FREE, TINY, VOCAB, drawn, named, rng

MIXERS = {
    "pattern": "free",
    "depth": {"min": 1, "max": 4},
    "d_model": [32, 64],
    "blocks": {
        "mamba2": {"domains": {"d_state": {"min": 8, "max": 64, "step": 8}, "head_dim": [16]}},
        "mha": {"domains": {"num_heads": [2], "head_dim": [16]}},
    },
}


@pytest.mark.parametrize("space", ["nano", "harmony", "budget"])
def test_at_least_half_of_all_attempts_are_accepted(space):
    for name, tally in measure(named(space), attempts=50, parents=40).items():
        assert tally.accepted >= 0.5 * tally.attempts, (name, tally.row())
        # A quarter of all; of 50 attempts a few more.
        assert tally.inapplicable <= 0.35 * tally.attempts, (name, tally.row())


def test_an_edit_of_a_width_moves_parameters_between_two_blocks():
    space, moved = named("budget"), 0
    # About every fifth parent's drawn field is a width.
    for seed in range(90):
        parent = drawn(space, seed)
        edit = hyper_parameter(space, parent, rng(seed))
        if edit is None or edit.named is None:
            continue
        child = repair(space, edit)
        if child is None:
            continue
        assert space.violations(child) == []
        assert child.blocks[edit.named] == edit.architecture.blocks[edit.named]
        changed, _ = distance(parent, child)
        moved += changed == 2 or child == edit.architecture
    assert moved >= 10


@pytest.mark.parametrize("name", MUTATIONS)
def test_what_an_edit_is_about_survives_its_repair(name):
    space, repaired = named("budget"), 0
    for seed in range(25):
        edit = MUTATIONS[name](space, drawn(space, seed), rng(seed))
        child = None if edit is None else repair(space, edit)
        if edit is None or child is None:
            continue
        repaired += child != edit.architecture
        assert space.violations(child) == []
        made = edit.architecture
        assert (child.d_model, len(child.blocks)) == (made.d_model, len(made.blocks))
        for one, other in zip(child.blocks, made.blocks, strict=True):
            differing = {field for field in type(one).model_fields if getattr(one, field) != getattr(other, field)}
            assert one.kind == other.kind
            assert differing <= {one.width_field}
    assert repaired > 0 or name == "swap"


def test_one_block_near_the_edit_makes_up_for_it_where_it_can():
    limits = {"num_params": {"min": 30_000, "max": 30_500}}
    domains = {"d_ff": {"min": 8, "max": 128, "step": 1}}
    space = Space.parse({**TINY, "blocks": {**TINY["blocks"], "mlp": {"domains": domains}}, "constraints": limits})
    blocks = (MHA(num_heads=2, head_dim=16), MLP(d_ff=64)) * 2
    before = Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)
    assert before.num_params() == 28_864
    near = repair(space, Edit(before, "", near=(0, 3)))
    assert near is not None
    assert [block.d_ff for block in near.blocks[1::2]] == [64, 76]
    # 8 more of both, or in proportion.
    together = repair(space, Edit(before, ""))
    assert together is not None
    assert [block.d_ff for block in together.blocks[1::2]] == [70, 70]


def test_states_are_solved_where_a_stack_has_no_channel_mixer():
    space = Space.parse({**MIXERS, "constraints": {"num_params": {"min": 27_000, "max": 28_000}}})
    before = Architecture(d_model=32, vocab_size=VOCAB, blocks=(Mamba2(d_state=8, head_dim=16),) * 2)
    child = repair(space, Edit(before, ""))
    assert child is not None
    assert space.violations(child) == []
    assert child.blocks[0].d_state > 8


def test_the_width_is_solved_where_a_stack_has_nothing_else():
    space = Space.parse({**MIXERS, "constraints": {"num_params": {"min": 30_000}}})
    before = Architecture(d_model=32, vocab_size=VOCAB, blocks=(MHA(num_heads=2, head_dim=16),) * 3)
    child = repair(space, Edit(before, ""))
    assert child is not None
    assert child.d_model == 64
    assert child.blocks == before.blocks
    assert repair(space, Edit(before, "", names_d_model=True)) is None


def test_caches_are_solved_too():
    mla = {"num_heads": [2], "qk_nope_head_dim": [8], "qk_rope_head_dim": [8], "v_head_dim": [8]}
    domains = {**mla, "kv_lora_rank": {"min": 8, "max": 64, "step": 8}}
    blocks = {"mla": {"domains": domains}, "mlp": TINY["blocks"]["mlp"]}
    space = Space.parse({**TINY, "blocks": blocks, "constraints": {"kv_bytes_per_token": {"max": 70}}})
    before = Space.parse({**TINY, "blocks": blocks})
    deep = next(a for a in every_architecture(before, VOCAB) if a.kv_bytes_per_token() == 2 * 2 * (64 + 8))
    child = repair(space, Edit(deep, ""))
    assert child is not None
    assert child.kv_bytes_per_token() <= 70


@pytest.mark.parametrize(
    "constraints", [{}, {"num_params": {"min": 21_000, "max": 32_000}}], ids=["open", "under a budget"]
)
def test_single_edits_lead_from_everywhere_to_everywhere(constraints):
    domains = {"d_ff": {"min": 32, "max": 96, "step": 32}}
    space = Space.parse({**TINY, "blocks": {**TINY["blocks"], "mlp": {"domains": domains}}, "constraints": constraints})
    everyone = {one.id: one for one in every_architecture(space, VOCAB)}
    assert 25 <= len(everyone) <= 42, len(everyone)
    edges = {}
    for name, parent in everyone.items():
        edits = [MUTATIONS[operator](space, parent, rng(seed)) for operator in MUTATIONS for seed in range(20)]
        children = [repair(space, edit) for edit in edits if edit is not None]
        edges[name] = {child.id for child in children if child is not None} - {name}
    back = {name: {one for one in edges if name in edges[one]} for name in edges}
    for arrows in (edges, back):
        reached, waiting = set(), [next(iter(arrows))]
        while waiting:
            one = waiting.pop()
            waiting += arrows[one] - reached
            reached |= arrows[one] | {one}
        assert reached == set(everyone)


def test_distance_counts_blocks_and_fields():
    attention, mamba = MHA(num_heads=2, head_dim=16), Mamba2(head_dim=16)

    def stack(*blocks):
        return Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)

    base = stack(attention, MLP(d_ff=64), mamba, MLP(d_ff=64))
    assert distance(base, base) == (0, 0)
    assert distance(base, stack(attention, MLP(d_ff=64), mamba, MLP(d_ff=32, activation="gelu"))) == (1, 2)
    assert distance(base, stack(attention, MLP(d_ff=64))) == (2, 0)
    assert distance(base, stack(mamba, MLP(d_ff=64), mamba, MLP(d_ff=64))) == (1, 0)
    assert distance(base, base.replace(d_model=64)) == (0, 1)


def test_a_spelling_that_is_not_the_spaces_is_kept_where_its_width_is():
    space = Space.parse({**FREE, "constraints": {"num_params": {"max": 25_000}}})
    # Groups that limit nothing.
    spelled = MoE(n_routed=4, top_k=2, d_expert=16, n_groups=2, top_groups=2)
    parent = Architecture(d_model=32, vocab_size=VOCAB, blocks=(MHA(num_heads=2, head_dim=8), spelled, MLP(d_ff=128)))
    assert named("free").structure_violations(parent) == []
    child = repair(space, Edit(parent, "", near=(2,)))
    assert child is not None
    assert child.blocks[1] == spelled
    assert child.num_params() <= 25_000 < parent.num_params()
