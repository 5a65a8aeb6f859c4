"""Reading a space: what it holds, what it refuses and how it says so."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import pytest
import yaml

from harmony_core.architecture import GQA, MHA, MLP, MQA, Architecture, MoE
from harmony_core.architecture.presets import load_preset
from harmony_core.errors import UserError
from harmony_core.space import Space
from tests.space.spaces import FREE, TINY, VOCAB, drawn, named


def changed(path: str, value: Any, base: dict[str, Any] = TINY) -> dict[str, Any]:
    """The base with one entry set; `path` has dots."""
    data = copy.deepcopy(base)
    *parents, last = path.split(".")
    place = data
    for part in parents:
        place = place.setdefault(part, {})
    place[last] = value
    return data


MISTAKES = {
    "unknown key": ("dept", {"min": 1, "max": 2}, "unknown key; did you mean 'depth'?"),
    "empty depth": ("depth", {"min": 3, "max": 2}, "min 3 and max 2 are no range of depths"),
    "no widths": ("d_model", [], "space.yaml.d_model: []: list at least one choice"),
    "no width": ("d_model", [0], "space.yaml.d_model.0: 0: input should be greater than"),
    "unknown pattern": ("pattern", "layer", "'layers' or 'free'"),
    "unknown kind": ("blocks.mhha", {}, "space.yaml.blocks.mhha: mhha: unknown kind; use gated_deltanet, mha, mqa"),
    "unknown field": ("blocks.mlp.domains.dff", [1], "space.yaml.blocks.mlp.domains.dff: mlp: unknown hyper"),
    "missing field": ("blocks.mlp.domains", {}, "blocks.mlp.domains.d_ff: missing: it has no default"),
    "empty domain": ("blocks.mlp.domains.d_ff", [], "blocks.mlp.domains.d_ff: []: no choices"),
    "wrong type": ("blocks.mlp.domains.d_ff", [64, "wide"], "blocks.mlp.domains.d_ff: wide: input should be"),
    "twice": ("blocks.mlp.domains.d_ff", [64, 64], "a choice is listed twice"),
    "never valid": ("blocks.mha.domains.head_dim", [16, 15], "domains.head_dim: 15: no valid combination"),
    "no weight": ("blocks.mha.weight", 0, "space.yaml.blocks.mha.weight: 0: input should be greater than 0"),
    "nothing fits": ("blocks.mlp.relative_size", {"min": 50}, "d_model: 32: no channel fits this width"),
    "crossed bounds": ("constraints.num_params", {"min": 2, "max": 1}, "min 2 is above max 1"),
    "unknown budget": ("constraints.num_parms", {"max": 1}, "did you mean 'num_params'?"),
    "unknown count": ("constraints.count", {"mhha": {"max": 1}}, "count names 'mhha'"),
    "no grid": (
        "blocks.mlp.domains.d_ff",
        {"min": 8, "max": 4, "step": 8},
        "min 8 is above max 4; use a max that is at least min",
    ),
    "half a grid": ("blocks.mlp.domains.d_ff", {"min": 8, "max": 64}, "step: missing: this field is required"),
    "a grid of numbers that it cannot be": (
        "blocks.mha.domains.qk_norm",
        {"min": 1, "max": 3, "step": 1},
        "domains.qk_norm: 2: input should be a valid boolean",
    ),
    "what no loss reaches": (
        "blocks.moe",
        {"domains": {"n_routed": [4], "top_k": [1, 2], "d_expert": [8]}},
        "blocks.moe.domains.top_k: 1: no loss reaches the router: one weight divided by itself is 1; use normalize",
    ),
    "too many": (
        "blocks.mlp.domains.d_ff",
        list(range(1, 60_000)),
        "59999 combinations: list fewer",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name, tmp_path):
    field, value, message = MISTAKES[name]
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(changed(field, value)))
    with pytest.raises(UserError) as raised:
        Space.from_yaml(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_names_and_paths(tmp_path):
    assert Space.from_yaml("nano") == named("nano")
    with pytest.raises(UserError, match="did you mean 'nano'"):
        Space.from_yaml("nan")
    with pytest.raises(UserError, match=r"none\.yaml"):
        Space.from_yaml(tmp_path / "none.yaml")


def test_default_spaces_have_every_mixer_and_experts():
    kinds = {"mha", "mqa", "gqa", "mla", "swa", "mamba2", "hyena_se", "hyena_mr", "hyena_li", "mlp", "moe"}
    kinds |= {"gated_deltanet", "kda", "short_conv", "parallel"}
    assert set(named("nano").blocks) == set(named("harmony").blocks) == kinds
    for name in ("nano", "harmony"):
        mamba = named(name).blocks["mamba2"].domains
        assert all(len(mamba[field]) > 1 for field in ("d_state", "expand", "head_dim", "n_groups", "d_conv"))


@pytest.mark.parametrize("name", ["llama-nano", "mixtral-nano", "deepseek-nano"])
def test_presets_that_a_nano_search_may_start_from(name):
    assert named("nano").violations(load_preset(name)) == []


def test_baseline_kinds_are_allowed_where_listed():
    blocks = {**TINY["blocks"], "mamba": {"domains": {"d_state": [8, 16]}}}
    kinds = {block.kind for seed in range(30) for block in drawn(Space.parse({**TINY, "blocks": blocks}), seed).blocks}
    assert "mamba" in kinds


def test_only_valid_combinations_are_offered():
    choices = Space.parse(FREE).choices(48)
    gqa = {(block.num_heads, block.num_kv_heads) for block in choices.blocks("gqa")}
    assert gqa == {(2, 1), (2, 2), (4, 1), (4, 2), (4, 4), (6, 1), (6, 2), (6, 3)}
    moe = {(block.n_routed, block.top_k) for block in choices.blocks("moe")}
    assert moe == {(2, 1), (2, 2), (4, 1), (4, 2), (4, 4)}
    mamba2 = {(block.expand, block.head_dim, block.n_groups) for block in choices.blocks("mamba2")}
    assert mamba2 == {
        (1, 16, 1), (1, 16, 3), (1, 24, 1), (1, 24, 2),
        (2, 16, 1), (2, 16, 2), (2, 16, 3), (2, 24, 1), (2, 24, 2),
    }  # fmt: skip
    # Three matrices of 48 x d_ff are at most 14 x 48 x 48.
    assert {block.d_ff for block in choices.blocks("mlp")} == {32, 64, 128}


def test_gqa_is_not_offered_in_the_spelling_of_another_kind():
    domains = {"num_heads": [2, 4], "num_kv_heads": [1, 2, 4], "head_dim": [8]}
    space = Space.parse({**TINY, "blocks": {**TINY["blocks"], "gqa": {"domains": domains}}})
    offered = space.choices(32).blocks("gqa")
    assert offered == (GQA(num_heads=4, num_kv_heads=2, head_dim=8),)


def test_violations_name_each_reason():
    space = Space.parse({**TINY, "constraints": {"num_params": {"max": 1000}, "kv_bytes_per_token": {"max": 0}}})
    blocks = (MLP(d_ff=64), MoE(n_routed=2, top_k=1, d_expert=8), MHA(num_heads=2, head_dim=16))
    architecture = Architecture(d_model=32, vocab_size=VOCAB, tie_embeddings=False, blocks=blocks * 2)
    found = "\n".join(space.violations(architecture))
    for reason in (
        "depth 3 is outside 1-2 layers",
        "tie_embeddings False is not a choice",
        "block 0 (mlp) is not the mixer of a layer",
        "block 1 is not among the choices: {'kind': 'moe', 'n_routed': 2, 'top_k': 1, 'd_expert': 8}",
        "num_params above max 1000: ",
        "kv_bytes_per_token above max 0: 256",
    ):
        assert reason in found
    other = Architecture(d_model=64, vocab_size=VOCAB, blocks=blocks)
    assert "d_model 64 is not among [32]" in space.violations(other)


def test_violations_accept_another_spelling():
    space = Space.parse(TINY)
    spelled = (GQA(num_heads=2, head_dim=16, num_kv_heads=1), MLP(d_ff=64))
    assert space.violations(Architecture(d_model=32, vocab_size=VOCAB, blocks=spelled)) == []
    canonical = (MQA(num_heads=2, head_dim=16), MLP(d_ff=64))
    assert space.violations(Architecture(d_model=32, vocab_size=VOCAB, blocks=canonical)) == []


def test_a_mixer_is_required_unless_said_otherwise():
    blocks = {"mlp": TINY["blocks"]["mlp"]}
    data = {**TINY, "blocks": blocks, "pattern": "free"}
    channels = Architecture(d_model=32, vocab_size=VOCAB, blocks=(MLP(d_ff=64),))
    assert Space.parse(data).violations(channels) == ["num_mixers below min 1: 0"]
    assert Space.parse({**data, "constraints": {"num_mixers": {"min": 0}}}).violations(channels) == []


def test_a_grid_is_as_good_as_a_list():
    grid = Space.parse(changed("blocks.mlp.domains.d_ff", {"min": 16, "max": 70, "step": 16}))
    listed = Space.parse(changed("blocks.mlp.domains.d_ff", [16, 32, 48, 64]))
    assert grid.choices(32).blocks("mlp") == listed.choices(32).blocks("mlp")
    assert Space.parse(grid.model_dump(mode="json", exclude_defaults=True)) == grid


def test_one_function_is_offered_once():
    domains = {
        "n_routed": [2, 4],
        "top_k": [1, 2, 4],
        "d_expert": [8],
        "normalize_top_k": [True, False],
        "balancing": ["aux", "bias"],
        "bias_update_rate": [0.02, 0.1],
    }
    blocks = {**TINY["blocks"], "moe": {"domains": domains}}
    choices = Space.parse({**TINY, "blocks": blocks}).choices(32)
    offered = choices.blocks("moe")
    assert len({block.canonical() for block in offered}) == len(offered)
    # Where every expert is chosen neither weights nor balancing make a difference.
    assert [b for b in offered if b.top_k == b.n_routed] == [
        MoE(n_routed=2, top_k=2, d_expert=8),
        MoE(n_routed=4, top_k=4, d_expert=8),
    ]
    assert all(block.normalize_top_k is False for block in offered if block.top_k == 1)
    # One without a choice, and one with: its weights x (aux, or bias at either rate).
    assert len(offered) == 2 + 3 + 3 + 2 * 3
    assert choices.holds(MoE(n_routed=4, top_k=4, d_expert=8, balancing="bias", normalize_top_k=False))
    assert not choices.holds(MoE(n_routed=4, top_k=1, d_expert=8))


def test_what_is_spelled_once_has_the_neighbours_of_all_its_spellings():
    domains = {"n_routed": [2, 4], "top_k": [2], "d_expert": [8], "balancing": ["aux", "bias"]}
    blocks = {**TINY["blocks"], "moe": {"domains": {**domains, "normalize_top_k": [True, False]}}}
    choices = Space.parse({**TINY, "blocks": blocks}).choices(32)
    reached = {block for _, block in choices.neighbours(MoE(n_routed=2, top_k=2, d_expert=8))}
    assert reached == {
        MoE(n_routed=4, top_k=2, d_expert=8, balancing=balancing, normalize_top_k=normalised)
        for balancing in ("aux", "bias")
        for normalised in (True, False)
    }


def test_slow_balancing_is_told():
    domains = {"n_routed": [4], "top_k": [2], "d_expert": [8], "balancing": ["aux", "bias"]}
    slow = Space.parse({**TINY, "blocks": {**TINY["blocks"], "moe": {"domains": domains}}})
    warning = slow.slow_balancing(96)
    assert warning is not None
    assert "blocks.moe.domains.bias_update_rate: 0.001 over 96 steps evens no load; use at least 0.0026" in warning
    assert slow.slow_balancing(250) is None
    assert named("nano").slow_balancing(96) is None
    aux = Space.parse({**TINY, "blocks": {**TINY["blocks"], "moe": {"domains": {**domains, "balancing": ["aux"]}}}})
    assert aux.slow_balancing(96) is None


def test_windows_longer_than_the_sequence_are_refused_by_name():
    space = Space.from_yaml("nano")
    space.check_length(256)
    with pytest.raises(UserError, match=r"space\.blocks\.swa: recipe.sequence_length 127: window 128 .* at most 127"):
        space.check_length(127)


def test_id_follows_content():
    assert Space.parse(TINY).id == Space.parse(copy.deepcopy(TINY)).id
    assert Space.parse(TINY).id != Space.parse(changed("blocks.mlp.domains.d_ff", [32])).id


def test_no_torch():
    code = "import sys, harmony_core.space, harmony_core.architecture.presets; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
