"""Rotary positions as configuration: what is counted, what is refused, what is the same architecture."""

import pytest

from harmony_core.architecture import GQA, MLA, Architecture, RopeScaling
from harmony_core.architecture.rope import rotary_width
from harmony_core.errors import UserError

HEADS = {"kind": "gqa", "num_heads": 4, "head_dim": 16, "num_kv_heads": 2}
LATENT = {"kind": "mla", "num_heads": 2, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "v_head_dim": 8}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 64}
MISTAKES = {
    "base": ({**HEADS, "rope_base": 0.0}, "rope_base is 0.0; use a positive number"),
    "fraction without positions": (
        {**HEADS, "rope_base": None, "rope_fraction": 0.5},
        "rope_base is None, so nothing turns; leave out rope_fraction",
    ),
    "scaling without positions": ({**HEADS, "rope_base": None, "rope_scaling": YARN}, "rope_base is None"),
    "no fraction": ({**HEADS, "rope_fraction": 0.0}, "rope_fraction is 0.0; use more than 0 and at most 1"),
    "too much": ({**HEADS, "rope_fraction": 1.5}, "rope_fraction is 1.5; use more than 0 and at most 1"),
    "odd part": ({**HEADS, "rope_fraction": 0.2}, "rope_fraction 0.2 of head_dim 16 is odd"),
    "nothing turns": ({**HEADS, "rope_fraction": 0.05}, "turns nothing; use at least two elements"),
    "odd latent key": ({**LATENT, "qk_rope_head_dim": 5}, "qk_rope_head_dim 5 is odd"),
    "unknown method": ({**HEADS, "rope_scaling": {**YARN, "method": "ntk"}}, "'yarn', 'dynamic' or 'longrope'"),
    "shrinking": ({**HEADS, "rope_scaling": {**YARN, "factor": 0.5}}, "factor is 0.5; use at least 1"),
    "no context": (
        {**HEADS, "rope_scaling": {"method": "yarn", "factor": 2.0}},
        "original_context is None; yarn needs at least 1",
    ),
    "order of bounds": (
        {**HEADS, "rope_scaling": {**YARN, "method": "llama3", "low_frequency_factor": 4.0}},
        "high_frequency_factor 4.0 is not above low_frequency_factor 4.0; use 0 < low < high",
    ),
    "order of turns": (
        {**HEADS, "rope_scaling": {**YARN, "beta_slow": 33.0}},
        "beta_fast 32.0 is below beta_slow 33.0; use 0 < slow <= fast",
    ),
    "negative factor of attention": (
        {**HEADS, "rope_scaling": {**YARN, "attention_factor": -1.0}},
        "attention_factor is -1.0; use a positive number",
    ),
    "another method's field": (
        {**HEADS, "rope_scaling": {"method": "linear", "factor": 2.0, "beta_fast": 16.0}},
        "beta_fast means nothing to linear; leave it out",
    ),
    "yarn of equal frequencies": ({**HEADS, "rope_base": 1.0, "rope_scaling": YARN}, "yarn needs another one"),
    "scale": ({**HEADS, "scale": 0.0}, "scale is 0.0; use a positive number, or leave it out"),
    "latent scale": ({**LATENT, "qk_rope_head_dim": 4, "scale": -1.0}, "scale is -1.0"),
    "latent epsilon": ({**LATENT, "qk_rope_head_dim": 4, "latent_epsilon": 0.0}, "latent_epsilon is 0.0"),
}


def one(block: dict[str, object]) -> Architecture:
    return Architecture.parse({"d_model": 64, "vocab_size": 257, "blocks": [block]}, "mine.yaml")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    block, message = MISTAKES[name]
    with pytest.raises(UserError) as raised:
        one(block)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_how_much_of_a_head_turns():
    assert [rotary_width(64, fraction) for fraction in (1.0, 0.5, 0.25)] == [64, 32, 16]


def test_scaling_is_part_of_the_identity_and_survives_yaml(tmp_path):
    plain, scaled = one(HEADS), one({**HEADS, "rope_scaling": YARN, "rope_fraction": 0.5})
    assert plain.id == one({**HEADS, "rope_fraction": 1.0, "rope_scaling": None}).id
    assert len({plain.id, scaled.id, one({**HEADS, "rope_scaling": YARN}).id}) == 3
    scaled.to_yaml(tmp_path / "a.yaml")
    assert Architecture.from_yaml(tmp_path / "a.yaml") == scaled
    assert Architecture.from_json(scaled.to_json()) == scaled
    assert scaled.blocks[0].rope_scaling == RopeScaling(**YARN)


def test_biases_are_counted_and_positions_are_not():
    gqa = {"num_heads": 4, "head_dim": 16, "num_kv_heads": 2}
    plain = GQA(**gqa).num_params(64)
    assert GQA(**gqa, rope_fraction=0.5, rope_scaling=YARN, scale=0.1).num_params(64) == plain
    assert GQA(**gqa, bias=True).num_params(64) == plain + 16 * (4 + 2 + 2)
    assert GQA(**gqa, out_bias=True).num_params(64) == plain + 64
    mla = {key: value for key, value in LATENT.items() if key != "kind"} | {"qk_rope_head_dim": 4}
    assert MLA(**mla, bias=True).num_params(64) == MLA(**mla).num_params(64) + (8 + 4) + 64
    with_rank = {**mla, "q_lora_rank": 6}
    assert MLA(**with_rank, bias=True).num_params(64) == MLA(**with_rank).num_params(64) + 6 + (8 + 4) + 64
