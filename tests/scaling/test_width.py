"""Widths solved for parameters and for state: iso-parameter and iso-state normalisation."""

from __future__ import annotations

import pytest

from harmony_core.architecture.presets import load_preset, preset_names
from harmony_core.errors import UserError
from harmony_core.scaling.resize import TOLERANCE, body_params
from harmony_core.scaling.width import to_params, to_state
from harmony_core.space import Space, every_architecture


@pytest.mark.parametrize("name", [one for one in preset_names() if one.endswith("-nano")])
def test_every_nano_preset_has_a_twin_of_a_hundred_million(name):
    small = load_preset(name)
    grown = to_params(small, 100_000_000)
    assert abs(body_params(grown) / 1e8 - 1) <= TOLERANCE
    assert [block.kind for block in grown.blocks] == [block.kind for block in small.blocks]
    assert grown.vocab_size == small.vocab_size


def test_heads_and_inner_widths_grow_with_the_model():
    small = load_preset("llama-nano")
    grown = to_params(small, 16 * body_params(small))
    assert grown.d_model == pytest.approx(4 * small.d_model, rel=0.15)
    attention, before = grown.blocks[0], small.blocks[0]
    assert attention.num_heads / grown.d_model == before.num_heads / small.d_model
    assert attention.num_heads // attention.num_kv_heads == before.num_heads // before.num_kv_heads
    assert attention.head_dim == before.head_dim
    assert {block.d_ff % 8 for block in grown.blocks[1::2]} == {0}


def test_every_design_of_a_space_can_be_made_equal():
    """All interleavings of six blocks, the lone kinds among them, at one number of parameters."""
    designs = [one for one in every_architecture(Space.from_yaml("composer"), 257) if len(one.blocks) == 6]
    sizes = [body_params(to_params(one, 400_000)) for one in designs if one.num_mixers < 6]
    assert len(sizes) == 63
    assert max(sizes) <= (1 + TOLERANCE) * 400_000
    assert min(sizes) >= (1 - TOLERANCE) * 400_000


def test_a_width_that_no_whole_numbers_give_is_refused_with_the_nearest():
    with pytest.raises(
        UserError, match=r"^to_params: 400: no width comes within 2%; the nearest size is \d+; use another"
    ):
        to_params(load_preset("llama-nano"), 400)


@pytest.mark.parametrize("name", ["mamba-2-nano", "jamba-nano", "qwen3-next-nano", "falcon-h1-nano"])
def test_states_are_made_equal(name):
    architecture, context = load_preset(name), 64

    def state(one):
        return one.state_elements() + one.kv_cache_bytes(context, 1)

    wanted = 2 * state(architecture)
    found = to_state(architecture, wanted, context)
    assert state(found) == pytest.approx(wanted, rel=TOLERANCE)
    assert [block.kind for block in found.blocks] == [block.kind for block in architecture.blocks]
    changed = [(old, new) for old, new in zip(architecture.blocks, found.blocks, strict=True) if old != new]
    assert {old.role for old, _ in changed} == {"mixer"}


def test_what_has_no_state_to_choose_is_refused():
    with pytest.raises(UserError, match=r"^to_state: 5000: no token mixer of it has a state whose width is free"):
        to_state(load_preset("llama-nano"), 5000, 64)
    with pytest.raises(UserError, match=r"^to_state: 10: the nearest is \d+, of which 0 are"):
        to_state(load_preset("mamba-2-nano"), 10, 64)
