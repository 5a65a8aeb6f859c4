"""`export` to a class of `transformers`: where one fits, and only there."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from harmony_core import Architecture
from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config, export, from_hf
from harmony_core.interop.hf.export import LONGEST_CONTEXT, native_config
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.normal_form import normal_form
from harmony_core.models import build, generate
from tests.interop.exported_models import EXPERTS, HEADS, LATENT, TOLERANCE, YARN, check_same, custom, filled, opened
from tests.interop.random_models import CASES, VOCAB, can_cache, random_config, random_model, random_tokens


@pytest.mark.parametrize(("family", "seed"), [case for case in CASES if case[1] < 4])
def test_a_native_architecture_is_exported_as_its_class(family: str, seed: int, tmp_path: Path) -> None:
    """There and back: the folder has a class of `transformers`, often the same one, and the same logits."""
    ours = from_hf(random_model(family, seed))
    kind = export(ours, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert kind == config["model_type"] != "harmony"
    files = {"README.md", "config.json", "generation_config.json", "model.safetensors"}
    assert {path.name for path in tmp_path.iterdir()} == files
    theirs = opened(tmp_path)
    again = architecture_from_config(theirs.config)
    assert normal_form(again) == normal_form(ours.architecture)
    assert theirs.dtype == torch.float32
    check_same(ours, theirs, cached=can_cache(family, seed))


# Families of which another one computes everything.
WRITTEN_AS = {"qwen3_5_text": "qwen3_next", "qwen3_5_moe_text": "qwen3_next"}


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_the_target_of_one_of_its_own(family: str) -> None:
    found = set()
    for seed in range(12):
        fitting = native_config(architecture_from_config(random_config(family, seed)))
        assert fitting is not None
        found.add(fitting[0].model_type)
    assert WRITTEN_AS.get(family, family) in found


def test_training_alone_is_no_part_of_a_native_class(tmp_path: Path) -> None:
    """A mixture of ours with a balancing loss is a Mixtral, which could not add that loss while it generates."""
    blocks = [{"kind": "gqa", **HEADS, "num_kv_heads": 2}, {**EXPERTS, "aux_coefficient": 0.02}]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks)))
    assert export(ours, tmp_path) == "mixtral"
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["output_router_logits"], config["router_aux_loss_coef"]) == (False, 0.02)
    assert config["max_position_embeddings"] == LONGEST_CONTEXT
    theirs = opened(tmp_path)
    check_same(ours, theirs)
    tokens_BT, mask_BT = random_tokens(2, 7), torch.ones(2, 7, dtype=torch.int64)
    mask_BT[1, :3] = 0
    found_BT = theirs.generate(tokens_BT, attention_mask=mask_BT, max_new_tokens=5, do_sample=False)
    assert torch.equal(found_BT[1:, 3:], generate(ours, tokens_BT[1:, 3:], 5, temperature=0))


def test_sigmoids_without_shared_experts_or_a_bias_that_is_read(tmp_path: Path) -> None:
    """A DeepSeek-V3 whose shared network has no width, and whose bias is zero whatever lies in the buffer here."""
    mixture = {**EXPERTS, "router": "sigmoid", "balancing": "none"}
    blocks = [{"kind": "mla", **LATENT}, mixture]
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, norm_epsilon=1e-6, blocks=blocks)))
    assert ours.state_dict()["blocks.1.inner.router.bias_E"].any()
    assert export(ours, tmp_path) == "deepseek_v3"
    theirs = opened(tmp_path)
    check_same(ours, theirs)
    again = from_hf(theirs)
    assert again.num_params() == ours.num_params()


STATE_SPACE: dict[str, list[dict[str, Any]]] = {
    "bamba": [{"kind": "mamba2", "d_state": 6, "head_dim": 8}, {"kind": "mlp", "d_ff": 20}],
    "granitemoehybrid": [{"kind": "mamba2", "d_state": 6, "head_dim": 8}, {**EXPERTS, "n_shared": 1}],
    "nemotron_h": [{"kind": "mamba2", "d_state": 6, "head_dim": 8}, {"kind": "mlp", "d_ff": 9, "activation": "relu2"}],
    "jamba": [{"kind": "mamba", "d_state": 6, "inner_norms": True}, {"kind": "mlp", "d_ff": 20}],
    "kimi_linear": [{"kind": "kda", "num_heads": 2, "head_dim": 8}, {"kind": "mlp", "d_ff": 20}],
}


@pytest.mark.parametrize("family", STATE_SPACE)
def test_a_hybrid_without_attention_computes_and_generates(family: str, tmp_path: Path) -> None:
    """Of its own accord: `transformers` has no cache for it, so its configuration must not ask for one."""
    head = {"norm_epsilon": 1e-6, "tie_embeddings": family not in ("nemotron_h", "kimi_linear")}
    ours = filled(build(Architecture(d_model=32, vocab_size=VOCAB, blocks=STATE_SPACE[family], **head)))
    assert export(ours, tmp_path) == family
    theirs, tokens_BT = opened(tmp_path), random_tokens(2, 7)
    with torch.no_grad():
        torch.testing.assert_close(theirs(tokens_BT).logits, ours(tokens_BT), **TOLERANCE)
    expected = generate(ours, tokens_BT, 5, temperature=0)
    assert torch.equal(theirs.generate(tokens_BT, max_new_tokens=5, do_sample=False), expected)


MHA = {"kind": "mha", **HEADS}
KDA = {"kind": "kda", "num_heads": 2, "head_dim": 8}
GATED = {"kind": "mha", **HEADS, "qk_norm": True, "output_gate": True}
DELTA = {"kind": "gated_deltanet", "num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 8, "value_head_dim": 6}
GROUPED = {**HEADS, "num_kv_heads": 2}
WINDOW = {"kind": "swa", **GROUPED, "window": 4}
OSS_EXPERTS = {**EXPERTS, "expert_bias": True, "router_bias": True, "activation": "clamped_swiglu"}
LATENT_EXPERTS = {
    **{**EXPERTS, "n_shared": 1, "router": "sigmoid", "balancing": "bias", "activation": "relu2"},
    **{"d_latent": 8, "latent_bias": True},
}
CONV = {"kind": "short_conv", "kernel_size": 4}
STATE = {"d_state": 6, "head_dim": 8, "inner_width": 48}
BESIDE = {
    **{"kind": "parallel", "attention": {**GROUPED, "scale": 0.13, "bias": True, "out_bias": True}, "ssm": STATE},
    **{"attention_in_multiplier": 0.7, "ssm_out_multiplier": 0.3},
}
SWIGLU = {"kind": "mlp", "d_ff": 20}
NORMED = {**MHA, "qk_norm": True}
JOINT = {**NORMED, "qk_norm_joint": True, "norm_position": "post"}
BEHIND = {**SWIGLU, "norm_position": "post"}
BOTH = {**SWIGLU, "norm_position": "both"}
TANH = {**BOTH, "activation": "geglu_tanh"}
ROOT = {"embedding_multiplier": 32**0.5}
STATES = {"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2}
ALMOST: dict[str, tuple[list[dict[str, Any]], dict[str, Any]]] = {
    "a bias on the output alone": ([{**MHA, "out_bias": True}, SWIGLU], {}),
    "two windows": (
        [{"kind": "swa", **HEADS, "num_kv_heads": 2, "window": w} if w else SWIGLU for w in (4, 0, 5, 0)],
        {},
    ),
    "a window and no window without QK norm": (
        [
            {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4},
            SWIGLU,
            {"kind": "gqa", **HEADS, "num_kv_heads": 2},
            SWIGLU,
        ],
        {},
    ),
    "partial rotation without Mamba-2's width": (
        [{**MHA, "rope_fraction": 0.5, "qk_norm": True, "rope_scaling": YARN}, SWIGLU],
        {},
    ),
    "a norm behind attention alone": ([{**MHA, "norm_position": "post"}, SWIGLU], {}),
    "norms on both sides without the embedding's factor": ([{**NORMED, "norm_position": "both"}, TANH], {}),
    "norms on both sides of the mixer alone": ([{**NORMED, "norm_position": "both"}, SWIGLU], ROOT),
    "a norm behind a Gated DeltaNet": ([{**DELTA, "norm_position": "post"}, BEHIND, JOINT, BEHIND], {}),
    "a QK norm over all heads without experts": ([{**NORMED, "qk_norm_joint": True}, SWIGLU], {}),
    "narrower values with a QK norm": ([{**NORMED, "v_head_dim": 6}, SWIGLU], {}),
    "a gate a head with biases": ([{**NORMED, "output_gate": True, "gate_per_head": True, "bias": True}, SWIGLU], {}),
    "latents with the model's epsilon": ([{"kind": "mla", **LATENT}, SWIGLU], {"norm_epsilon": 1e-3}),
    "a factor of scores that is no mscale": ([{"kind": "mla", **LATENT, "scale": 0.3}, SWIGLU], {"norm_epsilon": 1e-6}),
    "a capacity": ([MHA, {**EXPERTS, "capacity_factor": 1.0}], {}),
    "a softmax with a bias": ([MHA, {**EXPERTS, "balancing": "bias"}], {}),
    "experts that differ": ([MHA, EXPERTS, MHA, {**EXPERTS, "top_k": 3}], {}),
    "a norm over the whole inner width": ([{**STATES, "norm_groups": 1}], {}),
    "an inner width that is no multiple": ([{**STATES, "inner_width": 48}], {}),
    "an upper limit of dt where only a lower one is read": (
        [{**STATES, "inner_width": 48, "dt_limit": [0.0, 0.5]}, {**SWIGLU, "activation": "relu2"}],
        {"tie_embeddings": False},
    ),
    "tied embeddings that are never tied": ([{**STATES, "inner_width": 48}, {**SWIGLU, "activation": "relu2"}], {}),
    "a multiplier of logits without Granite's blocks": ([{**MHA, "qk_norm": True}, SWIGLU], {"logits_divisor": 2.0}),
    "negative eigenvalues": ([{**DELTA, "negative_eigenvalues": True}, SWIGLU, GATED, SWIGLU], {}),
    "a gate without QK norm": ([{**GATED, "qk_norm": False}, SWIGLU], {}),
    "a gate on the shared expert without gated attention": ([MHA, {**EXPERTS, "n_shared": 1, "shared_gate": True}], {}),
    "a rank that is not the head's width": ([{**KDA, "gate_rank": 5}, SWIGLU], {"tie_embeddings": False}),
    "Kimi's mixer with tied embeddings": ([KDA, SWIGLU], {}),
    "convolutions that differ": ([CONV, SWIGLU, {**CONV, "bias": True}, SWIGLU], {}),
    "convolutions without QK norm": ([CONV, SWIGLU, MHA, SWIGLU], {}),
    "convolutions beside biases": ([CONV, {**SWIGLU, "bias": True}], {}),
    "convolutions beside softmax experts": ([CONV, EXPERTS], {}),
    "sinks without experts": ([{**MHA, "sinks": True}, SWIGLU], {}),
    "a clamped SwiGLU that is dense": ([MHA, {**SWIGLU, "activation": "clamped_swiglu"}], {}),
    "experts with biases and no sinks": ([MHA, OSS_EXPERTS], {}),
    "latent experts with a bias of their own": (
        [{**MHA, "rope_base": None}, LATENT_EXPERTS],
        {"tie_embeddings": False},
    ),
    "a state space beside attention with its own kinds of norm": (
        [{**BESIDE, "ssm": {**STATE, "n_groups": 2, "norm_groups": 1}}, SWIGLU],
        {},
    ),
    "a state space beside attention with QK norm": (
        [{**BESIDE, "attention": {**GROUPED, "qk_norm": True}}, SWIGLU],
        {},
    ),
    "branches that differ": ([BESIDE, SWIGLU, {**BESIDE, "ssm_in_multiplier": 2.0}, SWIGLU], {}),
    "a state space beside attention and alone": ([BESIDE, SWIGLU, {"kind": "mamba2", **STATE}, SWIGLU], {}),
    "a factor of every block's output": ([BESIDE, SWIGLU], {"residual_multiplier": 0.5}),
    "a factor of the gate without attention beside a state space": ([MHA, {**SWIGLU, "gate_multiplier": 0.5}], {}),
    "Mamba-2 without its norm, alone": ([{**STATES, "norm": "none"}], {}),
    "two mixers in a row": ([MHA, MHA, SWIGLU], {}),
}


@pytest.mark.parametrize("name", ALMOST)
def test_what_almost_fits_is_exported_with_its_code(name: str) -> None:
    blocks, head = ALMOST[name]
    assert native_config(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks, **head)) is None


def test_a_near_miss_put_right_is_native() -> None:
    """The other side of some of these edges, so that they are where they seem to be."""
    for blocks, head, family in (
        ([{**MHA, "bias": True, "out_bias": True}, SWIGLU], {}, "llama"),
        ([{"kind": "mla", **LATENT}, SWIGLU], {"norm_epsilon": 1e-6}, "deepseek_v3"),
        ([{"kind": "mla", **LATENT, "latent_epsilon": 1e-6}, SWIGLU], {"norm_epsilon": 1e-3}, "deepseek_v3"),
        ([{**MHA, "rope_fraction": 0.5}, SWIGLU], {}, "bamba"),
        ([STATES], {}, "mamba2"),
        ([{**STATES, "inner_width": 48}], {"tie_embeddings": False}, "nemotron_h"),
        ([MHA, SWIGLU], {"logits_divisor": 2.0}, "granitemoehybrid"),
        ([DELTA, SWIGLU, GATED, SWIGLU], {}, "qwen3_next"),
        ([{**DELTA, "chunk_size": 16}, {**EXPERTS, "n_shared": 1, "shared_gate": True}], {}, "qwen3_next"),
        ([{**KDA, "gate_rank": 8}, SWIGLU], {"tie_embeddings": False}, "kimi_linear"),
        ([{**MHA, "sinks": True}, OSS_EXPERTS], {}, "gpt_oss"),
        (
            [{**MHA, "rope_base": None}, {**LATENT_EXPERTS, "latent_bias": False}],
            {"tie_embeddings": False},
            "nemotron_h",
        ),
        ([CONV, SWIGLU, {**MHA, "qk_norm": True}, SWIGLU], {}, "lfm2"),
        ([BESIDE, SWIGLU], {"logits_divisor": 3.0, "embedding_multiplier": 0.7}, "falcon_h1"),
        (
            [
                {**BESIDE, "ssm": {**STATE, "n_groups": 2, "norm_groups": 2, "norm": "norm_first"}},
                {**SWIGLU, "gate_multiplier": 0.3, "out_multiplier": 0.1},
            ],
            {"tie_embeddings": False},
            "falcon_h1",
        ),
        ([{**NORMED, "rope_fraction": 0.5}, SWIGLU], {}, "lfm3"),
        (
            [{**CONV, "norm_position": "both"}, BOTH, {**NORMED, "output_gate": True, "gate_per_head": True}, BOTH],
            {},
            None,
        ),
        (
            [{**NORMED, "output_gate": True, "gate_per_head": True, "norm_position": "both"}, BOTH],
            {},
            "lfm3",
        ),
        ([{**NORMED, "norm_position": "both"}, TANH], ROOT, "gemma3_text"),
        ([{**DELTA, "negative_eigenvalues": True}, SWIGLU, JOINT, BEHIND], {}, "olmo_hybrid"),
        ([{**MHA, "v_head_dim": 6}, SWIGLU], {}, "mimo_v2_flash"),
        ([CONV, SWIGLU, CONV, {**EXPERTS, "router": "sigmoid", "balancing": "bias"}], {}, "lfm2_moe"),
        ([MHA, {**EXPERTS, "capacity_factor": None, "d_shared": 7, "n_shared": 1}], {}, "granitemoehybrid"),
    ):
        fitting = native_config(Architecture(d_model=32, vocab_size=VOCAB, blocks=blocks, **head))
        assert (None if fitting is None else fitting[0].model_type) == family, blocks


def test_nothing_is_written_into_a_folder_that_holds_something(tmp_path: Path) -> None:
    ours = custom("mlp")
    export(ours, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(UserError, match=r"directory: .*: it holds .* already; name a new folder, or an empty one"):
        export(ours, tmp_path)
    with pytest.raises(UserError, match=r"directory: .*: .*name a folder that can be made"):
        export(ours, tmp_path / "config.json")
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_who_may_read_the_files_is_the_umasks_to_say(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        export(custom("mlp"), tmp_path / "new")
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {mode}
