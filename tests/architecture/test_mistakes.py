"""What people write wrongly: each a one-line error that names field, value and fix."""

from __future__ import annotations

import pytest

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError

GQA = {"kind": "gqa", "num_heads": 6, "head_dim": 16, "num_kv_heads": 2}
MLP = {"kind": "mlp", "d_ff": 64}
PARALLEL = {
    "kind": "parallel",
    "attention": {"num_heads": 4, "num_kv_heads": 2, "head_dim": 16},
    "ssm": {"head_dim": 16},
}
MISTAKES = {
    "kv heads do not divide": ({**GQA, "num_kv_heads": 4}, "num_kv_heads 4 does not divide num_heads 6"),
    "no kv heads": ({**GQA, "num_kv_heads": 0}, "num_kv_heads 0"),
    "no heads": ({"kind": "mha", "num_heads": 0, "head_dim": 16}, "num_heads is 0; use at least 1"),
    "odd head for rope": ({"kind": "mqa", "num_heads": 2, "head_dim": 15}, "head_dim 15 is odd"),
    "unknown field": ({**MLP, "activaton": "gelu"}, "did you mean 'activation'?"),
    "unknown choice": ({**MLP, "activation": "tanh"}, "tanh"),
    "missing field": ({"kind": "mlp"}, "mlp.d_ff: missing: this field is required"),
    "unknown kind": ({"kind": "gqq"}, "blocks.0.kind: gqq: unknown block kind; use one of "),
    "no kind": ({"d_ff": 64}, "a block is a mapping with a 'kind'"),
    "too many experts chosen": (
        {"kind": "moe", "n_routed": 2, "top_k": 3, "d_expert": 8},
        "top_k 3 is above n_routed 2",
    ),
    "negative shared experts": (
        {"kind": "moe", "n_routed": 2, "top_k": 1, "d_expert": 8, "n_shared": -1},
        "n_shared is -1; use 0 or more",
    ),
    "mamba2 heads": ({"kind": "mamba2", "head_dim": 48}, "block 0 (mamba2): head_dim 48 does not divide"),
    "mamba2 groups": (
        {"kind": "mamba2", "head_dim": 32, "n_groups": 3},
        "n_groups 3 does not divide the 4 heads",
    ),
    "no window": (
        {"kind": "swa", "num_heads": 2, "head_dim": 16, "num_kv_heads": 1, "window": 0},
        "window is 0; use at least 1",
    ),
    "rotary share": ({**GQA, "rope_fraction": 1.5}, "rope_fraction is 1.5; use more than 0 and at most 1"),
    "odd rotary share": ({**GQA, "rope_fraction": 0.2}, "rope_fraction 0.2 of head_dim 16 is odd"),
    "rotary share of nothing": (
        {**GQA, "rope_base": None, "rope_fraction": 0.5},
        "rope_base is None, so nothing turns",
    ),
    "unknown rope scaling": ({**GQA, "rope_scaling": {"method": "ntk", "factor": 2}}, "'dynamic' or 'longrope'"),
    "rope scaling without its context": (
        {**GQA, "rope_scaling": {"method": "yarn", "factor": 2}},
        "original_context is None; yarn needs at least 1",
    ),
    "factors of frequencies": (
        {
            **GQA,
            "rope_scaling": {
                **{"method": "longrope", "factor": 2, "original_context": 8},
                **{"short_factors": [1.0], "long_factors": [1.0]},
            },
        },
        "short_factors has 1 numbers; use one a frequency, ",
    ),
    "place of a norm": ({**GQA, "norm_position": "behind"}, "'pre', 'post' or 'both'"),
    "width of values": ({**GQA, "v_head_dim": 0}, "v_head_dim is 0; use at least 1, or leave it out"),
    "a QK norm's scope": (
        {**GQA, "qk_norm_joint": True},
        "qk_norm_joint is True without qk_norm; use qk_norm true, or leave qk_norm_joint out",
    ),
    "a gate's scope": ({**GQA, "gate_per_head": True}, "gate_per_head is True without output_gate"),
    "scale of scores": ({**GQA, "scale": 0}, "scale is 0.0; use a positive number"),
    "groups of experts": (
        {"kind": "moe", "n_routed": 6, "top_k": 2, "d_expert": 8, "n_groups": 4},
        "n_groups 4 does not divide n_routed 6",
    ),
    "more experts than their groups have": (
        {"kind": "moe", "n_routed": 6, "top_k": 3, "d_expert": 8, "n_groups": 3, "top_groups": 1},
        "top_k 3 is above the 2 experts of top_groups 1",
    ),
    "no latent": (
        {"kind": "moe", "n_routed": 6, "top_k": 2, "d_expert": 8, "d_latent": 0},
        "d_latent is 0; use at least",
    ),
    "bias of no latent": (
        {"kind": "moe", "n_routed": 6, "top_k": 2, "d_expert": 8, "latent_bias": True},
        "latent_bias is True without d_latent; give d_latent",
    ),
    "capacity": (
        {"kind": "moe", "n_routed": 6, "top_k": 2, "d_expert": 8, "capacity_factor": 0},
        "capacity_factor is 0.0; use a positive number",
    ),
    "step sizes": ({"kind": "mamba2", "head_dim": 16, "dt_limit": [0.1, 0.01]}, "dt_limit is [0.1, 0.01]; use 0 <="),
    "groups of the norm": (
        {"kind": "mamba2", "head_dim": 16, "norm_groups": 3},
        "norm_groups 3 does not divide the inner width 128",
    ),
    "groups of no norm": (
        {"kind": "mamba2", "head_dim": 16, "norm": "none", "norm_groups": 2},
        "norm_groups is 2 with norm none; leave norm_groups out",
    ),
    "multipliers": (
        {"kind": "mamba2", "head_dim": 16, "multipliers": [1, 1, 0, 1, 1]},
        "multipliers are [1.0, 1.0, 0.0, 1.0, 1.0]; use positive numbers",
    ),
    "no factor of a gate": ({"kind": "mlp", "d_ff": 8, "gate_multiplier": 0}, "gate_multiplier is 0.0; use a positive"),
    "a factor of no gate": (
        {"kind": "mlp", "d_ff": 8, "activation": "gelu", "gate_multiplier": 2},
        "gate_multiplier is 2.0; gelu has no gate, leave it out",
    ),
    "a branch without a width": (
        {"kind": "parallel", "attention": {"num_heads": 2, "num_kv_heads": 1}, "ssm": {}},
        "attention.head_dim: missing: this field is required",
    ),
    "a branch with another kind's field": (
        {**PARALLEL, "ssm": {"head_dim": 16, "dt_rank": 4}},
        "parallel.ssm.dt_rank: 4: unknown key; the keys here are bias",
    ),
    "heads of attention that do not divide": (
        {**PARALLEL, "attention": {"num_heads": 4, "num_kv_heads": 3, "head_dim": 16}},
        "num_kv_heads 3 does not divide num_heads 4; use a divisor",
    ),
    "heads of the state space that do not divide": (
        {**PARALLEL, "ssm": {"head_dim": 48}},
        "block 0 (parallel): ssm: head_dim 48 does not divide expand x d_model 128",
    ),
    "a norm within": (
        {**PARALLEL, "ssm": {"head_dim": 16, "norm_position": "post"}},
        "block 0 (parallel): ssm: norm_position is post; it is the whole block's to say",
    ),
    "a factor of a branch": ({**PARALLEL, "ssm_in_multiplier": 0}, "ssm_in_multiplier is 0.0; use a positive number"),
    "filter groups": ({"kind": "hyena_se", "num_groups": 7}, "num_groups 7 does not divide d_model 64; use a divisor"),
    "no filter groups": ({"kind": "hyena_mr", "num_groups": 0}, "num_groups is 0; use at least 1"),
    "no taps": ({"kind": "hyena_se", "num_groups": 8, "filter_length": 0}, "filter_length is 0; use at least 1"),
    "no kernel": ({"kind": "short_conv", "kernel_size": 0}, "kernel_size is 0; use at least 1"),
    "no short taps": ({"kind": "hyena_li", "short_filter_length": 0}, "short_filter_length is 0; use at least 1"),
    "no states": ({"kind": "hyena_li", "state_size": 0}, "state_size is 0; use at least 1"),
    "crossed decays": (
        {"kind": "hyena_mr", "num_groups": 8, "decay_range": [2, 1]},
        "decay_range is [2.0, 1.0]; use low <= high",
    ),
    "decay span": (
        {"kind": "hyena_mr", "num_groups": 8, "decay_span": 100},
        "decay_span 100 is shorter than filter_length 128; use at least 128, or leave it out",
    ),
    "repetition": ({"repeat": 0, "blocks": [MLP]}, "a repetition is {repeat: a whole number from 1"),
    "repetition of nothing": ({"repeat": 2, "blocks": []}, "with at least one block"),
    "repetition without end": ({"repeat": 10**15, "blocks": [MLP, MLP]}, "use at most 10000 blocks in all"),
    "truth repeated": ({"repeat": True, "blocks": [MLP]}, "a repetition is {repeat: a whole number from 1"),
}


def parse(**changes: object) -> Architecture:
    return Architecture.parse({"d_model": 64, "vocab_size": 257, "blocks": [MLP], **changes}, "mine.yaml")


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes_in_a_block(name):
    block, message = MISTAKES[name]
    with pytest.raises(UserError) as raised:
        parse(blocks=[block])
    assert message in str(raised.value)
    assert "mine.yaml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": 0}, "d_model is 0; use at least 1"),
        ({"vocab_size": 0}, "vocab_size is 0; use at least 1"),
        ({"d_model": "wide"}, "mine.yaml.d_model: wide"),
        ({"blocks": []}, "blocks is empty; use at least one block"),
        ({"blocks": "mlp"}, "blocks is a list"),
        ({"tie_embedding": True}, "did you mean 'tie_embeddings'?"),
    ],
)
def test_mistakes_in_the_architecture(changes, message):
    with pytest.raises(UserError) as raised:
        parse(**changes)
    assert message in str(raised.value)


def test_repetitions_nest():
    inner = {"repeat": 2, "blocks": [GQA, MLP]}
    assert parse(blocks=[{"repeat": 3, "blocks": [inner, MLP]}]).pattern() == "3x(gqa mlp gqa mlp mlp)"


def test_unreadable_files(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml"):
        Architecture.from_yaml(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("blocks: [")
    with pytest.raises(UserError, match="not valid YAML"):
        Architecture.from_yaml(tmp_path / "bad.yaml")


def test_unknown_preset_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'llama-nano'"):
        load_preset("lama-nano")


def test_architectures_cannot_be_changed():
    with pytest.raises(ValueError, match="frozen"):
        parse().d_model = 32


def test_sequences_shorter_than_a_window_are_refused():
    window = {"kind": "swa", "num_heads": 2, "head_dim": 16, "num_kv_heads": 1, "window": 65}
    architecture = parse(blocks=[MLP, window])
    architecture.check_length(65)
    with pytest.raises(UserError, match=r"blocks\.1\.swa: sequences of 64: window 65 is longer .*; use at most 64"):
        architecture.check_length(64)


@pytest.mark.parametrize(
    ("block", "name", "taps"),
    [
        ({"kind": "hyena_se", "num_groups": 8}, "filter_length", 7),
        ({"kind": "hyena_mr", "num_groups": 8}, "filter_length", 128),
        ({"kind": "short_conv"}, "kernel_size", 3),
        ({"kind": "hyena_li"}, "short_filter_length", 3),
    ],
)
def test_sequences_shorter_than_a_filter_are_refused(block, name, taps):
    architecture = parse(blocks=[MLP, block])
    architecture.check_length(taps)
    with pytest.raises(UserError) as raised:
        architecture.check_length(taps - 1)
    message = f"sequences of {taps - 1}: {name} {taps} is longer than the sequence; use at most {taps - 1}"
    assert f"blocks.1.{block['kind']}: {message}" in str(raised.value)
