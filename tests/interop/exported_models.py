"""Models of ours to be exported, with all options of every kind of block, and what an export must hold."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from harmony_core import Architecture
from harmony_core.models import build
from harmony_core.models.generate import generate
from harmony_core.models.lm import HybridLM
from tests.interop.random_models import VOCAB, random_tokens

LENGTH = 17
TOLERANCE = {"rtol": 1e-4, "atol": 1e-4}
HEADS = {"num_heads": 4, "head_dim": 8}
GROUPED = {**HEADS, "num_kv_heads": 2}
MULTIPLIERS = [0.6, 0.25, 0.8, 0.5, 1.4]
LATENT = {"num_heads": 2, "kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 6}
EXPERTS = {"kind": "moe", "n_routed": 6, "d_expert": 12, "top_k": 2}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 8, "attention_factor": 1.2}
LLAMA3 = {"method": "llama3", "factor": 4.0, "original_context": 8}
# Blocks that no class of `transformers` has together, or at all; with all options of each kind.
CUSTOM = {
    "attention": [
        {"kind": "mha", **HEADS, "qk_norm": True, "bias": True, "rope_scaling": YARN},
        {"kind": "mqa", **HEADS, "rope_fraction": 0.5, "rope_scaling": {**YARN, "truncate": False}, "scale": 0.2},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_base": None, "out_bias": True},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_scaling": LLAMA3},
        {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4, "rope_scaling": {"method": "linear", "factor": 2.0}},
        {"kind": "swa", **HEADS, "num_kv_heads": 4, "window": 1},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "output_gate": True, "bias": True},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "sinks": True},
        {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "sinks": True},
        {"kind": "gqa", **HEADS, "num_kv_heads": 2, "v_head_dim": 6, "bias": True, "output_gate": True},
        {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "v_head_dim": 10, "sinks": True},
    ],
    "norms": [
        {
            **{"kind": "gqa", **HEADS, "num_kv_heads": 2, "qk_norm": True, "qk_norm_joint": True},
            "norm_position": "post",
        },
        {"kind": "mlp", "d_ff": 20, "activation": "geglu_tanh", "norm_position": "both"},
        {"kind": "mha", **HEADS, "output_gate": True, "gate_per_head": True, "bias": True, "norm_position": "both"},
        {"kind": "gated_deltanet", "num_key_heads": 2, "num_value_heads": 2, "norm_position": "post"},
        {**EXPERTS, "norm_position": "post"},
    ],
    "mla": [
        {"kind": "mla", **LATENT, "rope_scaling": YARN, "scale": 0.3, "latent_epsilon": 1e-3},
        {"kind": "mla", **LATENT, "q_lora_rank": 14, "bias": True},
        {"kind": "mla", **LATENT, "rope_base": None},
    ],
    "mlp": [
        {"kind": "gqa", **HEADS, "num_kv_heads": 2},
        *({"kind": "mlp", "d_ff": 20, "activation": name, "bias": name < "h"} for name in ("gelu", "geglu", "relu2")),
        {"kind": "mlp", "d_ff": 20, "activation": "bilinear", "bias": True},
    ],
    "moe": [
        {"kind": "gqa", **HEADS, "num_kv_heads": 2},
        {**EXPERTS, "n_shared": 2, "shared_bias": True, "routed_scale": 1.7, "normalize_top_k": False},
        {**EXPERTS, "router": "sigmoid", "balancing": "bias", "n_groups": 3, "top_groups": 2, "group_score": "top2"},
        {**EXPERTS, "activation": "gelu", "n_groups": 3, "top_groups": 1, "n_shared": 1, "d_shared": 7},
        {**EXPERTS, "n_shared": 1, "shared_gate": True},
        {**EXPERTS, "activation": "clamped_swiglu", "expert_bias": True, "router_bias": True},
        {**EXPERTS, "d_latent": 10, "latent_bias": True, "n_shared": 1, "activation": "relu2"},
    ],
    "mamba": [
        {"kind": "mamba", "d_state": 4},
        {"kind": "mamba", "d_state": 4, "inner_norms": True, "dt_rank": 3, "bias": True, "conv_bias": False},
    ],
    "mamba2": [
        {"kind": "mamba2", "d_state": 8, "head_dim": 16, "chunk_size": 8, "dt_limit": [0.01, 0.05]},
        {"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "norm_groups": 4, "d_conv": 2, "bias": True},
        {"kind": "mamba2", "d_state": 6, "head_dim": 8, "inner_width": 40, "norm_groups": 1, "conv_bias": False},
    ],
    "parallel": [
        {"kind": "parallel", "attention": GROUPED, "ssm": {"d_state": 8, "head_dim": 16, "chunk_size": 8}},
        {
            **{"kind": "parallel", "attention": {**GROUPED, "bias": True, "qk_norm": True, "rope_scaling": YARN}},
            "ssm": {"d_state": 6, "head_dim": 8, "inner_width": 40, "norm": "none", "multipliers": MULTIPLIERS},
            **{"attention_in_multiplier": 0.7, "attention_out_multiplier": 0.9},
            **{"ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.3},
        },
        {
            "kind": "mamba2",
            "d_state": 6,
            "head_dim": 8,
            "n_groups": 2,
            "norm": "norm_first",
            "multipliers": MULTIPLIERS,
        },
        {"kind": "mlp", "d_ff": 20, "bias": True, "gate_multiplier": 0.5, "out_multiplier": 0.3},
        {"kind": "mlp", "d_ff": 20, "activation": "gelu", "out_multiplier": 0.3},
    ],
    "delta": [
        {"kind": "gated_deltanet", "num_key_heads": 2, "num_value_heads": 4, "key_head_dim": 6, "value_head_dim": 10},
        {
            **{"kind": "gated_deltanet", "num_key_heads": 2, "num_value_heads": 2, "key_head_dim": 8, "d_conv": 2},
            **{"value_head_dim": 4, "negative_eigenvalues": True, "out_norm_epsilon": 0.01, "chunk_size": 8},
        },
        {"kind": "kda", "num_heads": 3, "head_dim": 6},
        {"kind": "kda", "num_heads": 2, "head_dim": 8, "gate_rank": 5, "negative_eigenvalues": True, "d_conv": 3},
    ],
    "short_conv": [{"kind": "short_conv"}, {"kind": "short_conv", "kernel_size": 7, "bias": True}],
    "hyena": [
        {"kind": "hyena_se", "num_groups": 4},
        {"kind": "hyena_mr", "num_groups": 8, "filter_length": 12, "short_filter_length": 2},
        {"kind": "hyena_li", "state_size": 4, "chunk_size": 8},
    ],
    "hybrid": [
        {"kind": "mamba2", "d_state": 8, "head_dim": 16},
        {"kind": "mla", **LATENT},
        {**EXPERTS, "n_shared": 1},
        {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4},
        {"kind": "mamba", "d_state": 4},
    ],
}


@torch.no_grad()
def filled(model: HybridLM) -> HybridLM:
    """No bias of zero, no norm of one."""
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.state_dict().items():
        if not name.endswith("a_log"):
            tensor.add_(0.2 * torch.randn(tensor.shape, generator=generator))
    return model.eval()


def custom(name: str, tie: bool = True) -> HybridLM:
    head = {"embedding_multiplier": 2.0, "residual_multiplier": 0.7, "logits_divisor": 0.5, "norm_epsilon": 1e-3}
    return filled(build(Architecture(d_model=32, vocab_size=VOCAB, tie_embeddings=tie, blocks=CUSTOM[name], **head)))


def opened(folder: Path) -> PreTrainedModel:
    options = {"trust_remote_code": True, "experts_implementation": "eager"}
    return AutoModelForCausalLM.from_pretrained(folder, **options).eval()


@torch.no_grad()
def check_same(ours: HybridLM, theirs: PreTrainedModel, cached: bool = True) -> None:
    tokens_BT = random_tokens(2, LENGTH)
    torch.testing.assert_close(theirs(tokens_BT, use_cache=False).logits, ours(tokens_BT), **TOLERANCE)
    if cached:
        expected = generate(ours, tokens_BT[:, :7], 9, temperature=0)
        options = {"max_new_tokens": 9, "do_sample": False}
        assert torch.equal(theirs.generate(tokens_BT[:, :7], use_cache=True, **options), expected)
