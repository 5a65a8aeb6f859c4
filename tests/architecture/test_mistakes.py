"""What people write wrongly: each a one-line error that names field, value and fix."""

from __future__ import annotations

import pytest

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError

GQA = {"kind": "gqa", "num_heads": 6, "head_dim": 16, "num_kv_heads": 2}
MLP = {"kind": "mlp", "d_ff": 64}
MISTAKES = {
    "kv heads do not divide": ({**GQA, "num_kv_heads": 4}, "num_kv_heads 4 does not divide num_heads 6"),
    "no kv heads": ({**GQA, "num_kv_heads": 0}, "num_kv_heads 0"),
    "no heads": ({"kind": "mha", "num_heads": 0, "head_dim": 16}, "num_heads is 0; use at least 1"),
    "odd head for rope": ({"kind": "mqa", "num_heads": 2, "head_dim": 15}, "head_dim 15 is odd"),
    "unknown field": ({**MLP, "activaton": "gelu"}, "did you mean 'activation'?"),
    "unknown choice": ({**MLP, "activation": "tanh"}, "tanh"),
    "missing field": ({"kind": "mlp"}, "mlp.d_ff: missing: this field is required"),
    "unknown kind": ({"kind": "gqq"}, "blocks.0.kind: gqq: unknown block kind; use one of mha, "),
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
    "repetition": ({"repeat": 0, "blocks": [MLP]}, "a repetition is {repeat: a whole number from 1"),
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
