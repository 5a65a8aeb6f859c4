"""Every mutation passes one suite: in the space, unlike the parent, a function of the seed."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harmony_core.architecture import GQA, MHA, MLP, Architecture, Mamba2
from harmony_core.errors import UserError
from harmony_core.space import MUTATIONS, DeadEnd, Space, accept, crossover, mutate
from harmony_core.space.mutations.depth import depth
from harmony_core.space.mutations.duplicate import duplicate
from harmony_core.space.mutations.hyper_parameter import hyper_parameter
from harmony_core.space.mutations.replace import replace
from harmony_core.space.mutations.width import width
from tests.space.spaces import FREE, SPACES, TINY, VOCAB, drawn, named, rng

TEXTS = {
    "replace": r"replace block \d+: \w+ -> \w+",
    "insert": r"insert (layer|block) \d+: \w+( \w+)?",
    "delete": r"delete (layer|block) \d+: \w+( \w+)?",
    "swap": r"swap (layer|block)s \d+ and \d+",
    "duplicate": r"duplicate (layer|block)(s \d+-\d+| \d+)",
    "hyper_parameter": r"(block \d+ \w+: [\w.]+ \S+ -> \S+|tie_embeddings \w+ -> \w+)",
    "width": r"width \d+ -> \d+",
    "depth": r"depth \d+ -> \d+ (layer|block)s",
}
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("space_name", SPACES)
@pytest.mark.parametrize("name", MUTATIONS)
@given(parent_seed=seeds, seed=seeds)
@settings(max_examples=15, deadline=None)
def test_conformance(name, space_name, parent_seed, seed):
    space = named(space_name)
    parent = drawn(space, parent_seed)
    before, known = parent.to_json(), parent.id
    result = MUTATIONS[name](space, parent, rng(seed))
    assert (parent.to_json(), parent.id) == (before, known)
    assert MUTATIONS[name](space, drawn(space, parent_seed), rng(seed)) == result
    if result is not None:
        child = result.architecture
        assert space.structure_violations(child) == []
        assert child.id != parent.id
        assert child.id == Architecture.from_json(child.to_json()).id
        assert child.vocab_size == VOCAB
        assert re.fullmatch(TEXTS[name], result.operator)


@pytest.mark.parametrize("name", ["nano", "harmony", "free"])
def test_every_mutation_is_reached_and_accepted(name):
    space, generator = named(name), rng(1)
    parents = [drawn(space, seed) for seed in range(20)]
    texts = [mutate(space, parents[index % 20], generator).operator for index in range(500)]
    counts = {operator: sum(bool(re.fullmatch(text, t)) for t in texts) for operator, text in TEXTS.items()}
    assert set(counts) == set(MUTATIONS)
    assert sum(counts.values()) == len(texts)
    assert min(counts.values()) >= 15


@pytest.mark.parametrize("name", SPACES)
@given(parent_seed=seeds, seed=seeds)
@settings(max_examples=30, deadline=None)
def test_mutate_stays_in_the_space(name, parent_seed, seed):
    space = named(name)
    parent = drawn(space, parent_seed)
    child = mutate(space, parent, rng(seed))
    assert space.violations(child.architecture) == []
    assert child.architecture.id != parent.id
    assert mutate(space, parent, rng(seed)) == child


@pytest.mark.parametrize("name", ["nano", "free"])
def test_chains_of_mutations_stay_in_the_space(name):
    space, generator = named(name), rng(2)
    architecture = drawn(space)
    depths = set()
    for _ in range(300):
        architecture = mutate(space, architecture, generator).architecture
        depths.add(len(architecture.blocks) // space.unit_size)
        assert space.violations(architecture) == []
    assert depths == set(range(space.depth.min, space.depth.max + 1))


def edited(mutation, space, parent, seed):
    """The architecture that the operator makes, before it is repaired; the parent where it does not apply."""
    edit = mutation(space, parent, rng(seed))
    return parent if edit is None else edit.architecture


def test_hyper_parameter_changes_one_field_of_one_block():
    space, parent = named("nano"), drawn(named("nano"), 5)
    # What means nothing before the change, or after it, has its default there.
    implied = {"balancing", "bias_update_rate", "normalize_top_k"}
    changed_names = set()
    for seed in range(100):
        child = edited(hyper_parameter, space, parent, seed)
        pairs = [(a, b) for a, b in zip(parent.blocks, child.blocks, strict=True) if a != b]
        assert len(pairs) == 1
        (old, new) = pairs[0]
        differing = {f for f in type(old).model_fields if getattr(old, f) != getattr(new, f)}
        assert type(old) is type(new)
        assert len(differing - implied) <= 1
        changed_names |= {(old.kind, name) for name in differing}
    assert len(changed_names) > 8


def test_a_width_on_a_grid_moves_to_one_that_is_near():
    space = named("nano")
    parent = Architecture(d_model=128, vocab_size=VOCAB, blocks=(MHA(num_heads=4, head_dim=32), MLP(d_ff=296)) * 4)
    widths = {block.d_ff for seed in range(300) for block in edited(hyper_parameter, space, parent, seed).blocks[1::2]}
    assert 200 <= min(widths) < 232
    assert 408 < max(widths) <= 440
    assert len(widths) > 20


def test_replace_keeps_the_role_in_layers():
    space, parents = named("nano"), [drawn(named("nano"), seed) for seed in range(10)]
    reached = set()
    for seed in range(300):
        parent = parents[seed % 10]
        child = edited(replace, space, parent, seed)
        changed = [i for i, (a, b) in enumerate(zip(parent.blocks, child.blocks, strict=True)) if a != b]
        assert len(changed) == 1
        assert [block.role for block in child.blocks] == ["mixer", "channel"] * (len(parent.blocks) // 2)
        assert child.blocks[changed[0]].kind != parent.blocks[changed[0]].kind
        reached.add(child.blocks[changed[0]].kind)
    assert reached == set(space.blocks)


def test_duplicate_repeats_the_run_in_place():
    space = Space.parse(FREE)
    kinds = [MLP(d_ff=32), MLP(d_ff=64), MLP(d_ff=128)]
    parent = Architecture(d_model=32, vocab_size=VOCAB, blocks=tuple(kinds))
    found = {tuple(b.d_ff for b in edited(duplicate, space, parent, seed).blocks) for seed in range(100)}
    assert found == {
        (32, 32, 64, 128), (32, 64, 64, 128), (32, 64, 128, 128),
        (32, 64, 32, 64, 128), (32, 64, 128, 64, 128), (32, 64, 128, 32, 64, 128),
    }  # fmt: skip


def test_depth_keeps_the_proportions():
    space = Space.parse({**FREE, "depth": {"min": 2, "max": 4}})
    parent = Architecture(d_model=32, vocab_size=VOCAB, blocks=tuple(MLP(d_ff=f) for f in (32, 64)))
    found = {tuple(b.d_ff for b in edited(depth, space, parent, s).blocks) for s in range(40)}
    assert found == {(32, 32, 64), (32, 32, 64, 64)}


def test_width_refits_only_what_does_not_fit():
    space = Space.parse(FREE)
    attention = GQA(num_heads=4, num_kv_heads=2, head_dim=8)
    # 64 divides 2 x 32 and not 2 x 48, so one field must move. B and C weigh less at the larger width:
    # more heads, that is the smaller head_dim of 16 and 24, comes nearer to the old relative size.
    mamba = Mamba2(head_dim=64, expand=2)
    parent = Architecture(d_model=32, vocab_size=VOCAB, blocks=(attention, mamba))
    edit = width(space, parent, rng())
    assert edit is not None
    assert edit.operator == "width 32 -> 48"
    assert edit.architecture.d_model == 48
    assert edit.architecture.blocks == (attention, Mamba2(head_dim=16, expand=2))


def test_all_else_of_an_architecture_survives_breeding():
    space, generator = named("nano"), rng(7)
    own = {"norm_epsilon": 1e-6, "embedding_multiplier": 11.0, "residual_multiplier": 0.5, "logits_divisor": 2.0}
    parents = [drawn(space, seed).replace(vocab_size=300, **own) for seed in range(10)]
    for name, mutation in MUTATIONS.items():
        children = [accept(space, edit)[0] for one in parents if (edit := mutation(space, one, generator)) is not None]
        assert children, name
        assert {(c.vocab_size, *(getattr(c, f) for f in own)) for c in children} == {(300, *own.values())}
    children = [crossover(space, *parents[i : i + 2], generator).architecture for i in range(9)]
    assert {(c.vocab_size, *(getattr(c, f) for f in own)) for c in children} == {(300, *own.values())}


def test_mutate_without_acceptable_children_is_a_dead_end():
    space = Space.parse({**TINY, "depth": {"min": 1, "max": 1}, "constraints": {"count": {"mqa": {"max": 0}}}})
    blocks = (MHA(num_heads=2, head_dim=16), MLP(d_ff=64))
    with pytest.raises(DeadEnd) as raised:
        mutate(space, Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks), rng())
    assert list(raised.value.rejected) == [("mutation", "count of mqa above max 0")]


def test_a_parent_from_elsewhere_is_refused():
    with pytest.raises(UserError, match="not in the search space"):
        mutate(named("nano"), drawn(named("free")), rng())
