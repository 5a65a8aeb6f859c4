"""What every block in the registry must hold; a new kind joins by an entry in CASES."""

from typing import Any

import pytest

from harmony_core.architecture import block_kinds
from harmony_core.models import HybridLM, implemented_kinds
from harmony_core.testing import blocks
from harmony_core.testing.blocks import BATCH, LENGTH, VOCAB, WIDTH, draw_tokens

__all__ = ["BATCH", "CASES", "LENGTH", "VOCAB", "WIDTH", "draw_tokens", "model_of"]

HEADS = {"num_heads": 4, "head_dim": 8}
GROUPED = {**HEADS, "num_kv_heads": 2}
LATENT = {"kv_lora_rank": 12, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 16, "attention_factor": 1.2}
LLAMA3 = {"method": "llama3", "factor": 8.0, "original_context": 16}
DELTA = {"num_key_heads": 2, "key_head_dim": 6, "value_head_dim": 10}
EXPERTS = {"n_routed": 5, "d_expert": 12}
CASES = {
    "mha": {"kind": "mha", **HEADS},
    "mha-qk-norm": {"kind": "mha", **HEADS, "qk_norm": True},
    "mqa": {"kind": "mqa", **HEADS},
    "gqa": {"kind": "gqa", **HEADS, "num_kv_heads": 2},
    "gqa-no-positions": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "rope_base": None},
    "gqa-biases": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "bias": True, "out_bias": True, "scale": 0.2},
    "gqa-partial-yarn": {"kind": "gqa", **HEADS, "num_kv_heads": 1, "rope_fraction": 0.5, "rope_scaling": YARN},
    "gqa-gate": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "output_gate": True, "bias": True},
    "gqa-sinks": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "sinks": True},
    "swa-sinks": {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "sinks": True, "output_gate": True},
    "gqa-joint-norm": {
        **{"kind": "gqa", **HEADS, "num_kv_heads": 2, "qk_norm": True, "qk_norm_joint": True, "rope_fraction": 0.5},
        "norm_position": "post",
    },
    "gqa-values": {"kind": "gqa", **HEADS, "num_kv_heads": 2, "v_head_dim": 6, "bias": True},
    "swa-values": {
        **{"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "v_head_dim": 10, "sinks": True},
        "output_gate": True,
    },
    "gqa-head-gate": {
        **{"kind": "gqa", **HEADS, "num_kv_heads": 1, "output_gate": True, "gate_per_head": True, "qk_norm": True},
        "norm_position": "both",
    },
    "swa": {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 4},
    "swa-gate": {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "output_gate": True, "qk_norm": True},
    "swa-wide": {"kind": "swa", **HEADS, "num_kv_heads": 4, "window": 64},
    "swa-llama3": {"kind": "swa", **HEADS, "num_kv_heads": 2, "window": 5, "bias": True, "rope_scaling": LLAMA3},
    "mla": {"kind": "mla", **LATENT, "num_heads": 4, "v_head_dim": 6},
    "mla-q-lora": {"kind": "mla", **LATENT, "num_heads": 2, "v_head_dim": 10, "q_lora_rank": 14},
    "mla-biases": {"kind": "mla", **LATENT, "num_heads": 2, "v_head_dim": 8, "q_lora_rank": 10, "bias": True},
    "mla-no-positions": {"kind": "mla", **LATENT, "num_heads": 2, "v_head_dim": 8, "rope_base": None},
    "mla-yarn": {
        "kind": "mla",
        **LATENT,
        "num_heads": 2,
        "v_head_dim": 8,
        "rope_scaling": YARN,
        "scale": 0.5,
        "latent_epsilon": 0.1,
    },
    "mamba2": {"kind": "mamba2", "d_state": 8, "head_dim": 16, "chunk_size": 8},
    "mamba2-groups": {"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "d_conv": 2, "chunk_size": 64},
    "mamba": {"kind": "mamba", "d_state": 4},
    "mamba2-bias": {
        **{"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "norm_groups": 4, "inner_width": 48},
        **{"bias": True, "conv_bias": False, "dt_limit": (0.002, 0.5)},
    },
    "mamba2-no-norm": {
        **{"kind": "mamba2", "d_state": 6, "head_dim": 8, "norm": "none"},
        **{"multipliers": (0.6, 0.25, 0.8, 0.5, 1.4), "chunk_size": 8},
    },
    "mamba2-norm-first": {
        **{"kind": "mamba2", "d_state": 6, "head_dim": 8, "n_groups": 2, "norm": "norm_first"},
        **{"multipliers": (0.6, 1.0, 1.0, 1.0, 1.0)},
    },
    "parallel": {"kind": "parallel", "attention": GROUPED, "ssm": {"d_state": 8, "head_dim": 16, "chunk_size": 8}},
    "parallel-factors": {
        **{"kind": "parallel", "attention": {**GROUPED, "num_kv_heads": 1, "scale": 0.2, "bias": True}},
        "ssm": {
            "d_state": 6,
            "head_dim": 8,
            "inner_width": 48,
            "norm": "none",
            "multipliers": (0.6, 0.5, 0.8, 0.5, 1.4),
        },
        **{"attention_in_multiplier": 0.7, "attention_out_multiplier": 0.9},
        **{"ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.6},
    },
    "mamba-norms": {"kind": "mamba", "d_state": 4, "inner_norms": True, "dt_rank": 3},
    "mamba-bias": {"kind": "mamba", "d_state": 4, "bias": True, "conv_bias": False},
    "gated-deltanet": {"kind": "gated_deltanet", **DELTA, "num_value_heads": 4, "chunk_size": 8},
    "gated-deltanet-negative": {
        **{"kind": "gated_deltanet", **DELTA, "num_value_heads": 2, "negative_eigenvalues": True, "d_conv": 2},
        "out_norm_epsilon": 0.01,
    },
    "gated-deltanet-post": {
        "kind": "gated_deltanet",
        **{**DELTA, "num_value_heads": 2, "norm_position": "post"},
    },
    "kda": {"kind": "kda", "num_heads": 4, "head_dim": 6, "chunk_size": 16},
    "kda-negative": {"kind": "kda", "num_heads": 2, "head_dim": 12, "gate_rank": 5, "negative_eigenvalues": True},
    "short-conv": {"kind": "short_conv"},
    "short-conv-bias": {"kind": "short_conv", "kernel_size": 7, "bias": True},
    "hyena-se": {"kind": "hyena_se", "num_groups": 8},
    "hyena-se-one-group": {"kind": "hyena_se", "num_groups": 1, "filter_length": 30, "short_filter_length": 2},
    "hyena-mr": {"kind": "hyena_mr", "num_groups": 4, "filter_length": 16},
    "hyena-mr-span": {"kind": "hyena_mr", "num_groups": 32, "decay_range": [-2.0, 2.0], "decay_span": 512},
    "hyena-li": {"kind": "hyena_li", "state_size": 4, "chunk_size": 8},
    "hyena-li-one-chunk": {"kind": "hyena_li"},
    "mlp": {"kind": "mlp", "d_ff": 40},
    "mlp-factors": {"kind": "mlp", "d_ff": 40, "bias": True, "gate_multiplier": 0.5, "out_multiplier": 0.8},
    "mlp-norms": {"kind": "mlp", "d_ff": 40, "activation": "geglu_tanh", "norm_position": "both"},
    "mlp-gelu": {"kind": "mlp", "d_ff": 40, "activation": "gelu"},
    "mlp-relu2": {"kind": "mlp", "d_ff": 40, "activation": "relu2"},
    "mlp-geglu": {"kind": "mlp", "d_ff": 40, "activation": "geglu", "bias": True},
    "mlp-bilinear": {"kind": "mlp", "d_ff": 40, "activation": "bilinear"},
    "moe": {"kind": "moe", **EXPERTS, "top_k": 2},
    "moe-shared": {"kind": "moe", **EXPERTS, "top_k": 3, "n_shared": 2, "router": "sigmoid", "balancing": "bias"},
    "moe-post": {"kind": "moe", **EXPERTS, "top_k": 2, "norm_position": "post"},
    "moe-biases": {
        **{"kind": "moe", **EXPERTS, "top_k": 2, "expert_bias": True, "router_bias": True},
        "activation": "clamped_swiglu",
    },
    "mlp-clamped-swiglu": {"kind": "mlp", "d_ff": 40, "activation": "clamped_swiglu", "bias": True},
    "moe-latent": {"kind": "moe", **EXPERTS, "top_k": 2, "d_latent": 10, "n_shared": 1, "activation": "relu2"},
    "moe-latent-bias": {"kind": "moe", **EXPERTS, "top_k": 3, "d_latent": 40, "latent_bias": True},
    "moe-shared-gate": {"kind": "moe", **EXPERTS, "top_k": 2, "n_shared": 1, "d_shared": 8, "shared_gate": True},
    "moe-groups": {
        "kind": "moe",
        "n_routed": 6,
        "d_expert": 12,
        "top_k": 2,
        "n_groups": 3,
        "top_groups": 2,
        "group_score": "top2",
        "router": "sigmoid",
        "balancing": "bias",
        "routed_scale": 2.5,
        "n_shared": 1,
        "d_shared": 20,
        "shared_bias": True,
        "activation": "relu2",
    },
}


def model_of(*named: str | dict[str, Any], tie: bool = True, seed: int = 0) -> HybridLM:
    """A small model of cases by name, or of other blocks."""
    return blocks.model_of(*(CASES[one] if isinstance(one, str) else one for one in named), tie=tie, seed=seed)


def closed_loop(name: str) -> HybridLM:
    """As `blocks.closed_loop`."""
    return blocks.closed_loop(CASES[name])


def test_every_kind_has_a_module_and_a_case() -> None:
    assert set(implemented_kinds()) == set(block_kinds())
    assert {case["kind"] for case in CASES.values()} == set(block_kinds())


@pytest.mark.parametrize("check", blocks.CHECKS, ids=lambda check: check.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", CASES)
def test_it_conforms(name: str, check: blocks.Check) -> None:
    check(CASES[name])
