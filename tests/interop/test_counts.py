"""Counts of configurations against the real models: parameters, cache and state, without weights and fast."""

from __future__ import annotations

import statistics
import time
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import load_preset
from harmony_core.interop.hf import architecture_from_config
from tests.interop.random_configs import DRAWS
from tests.interop.random_models import CASES, can_cache, random_config, random_model, random_tokens


def parameters(model: nn.Module) -> int:
    """Elements of unique parameters."""
    return sum({id(one): one.numel() for one in model.parameters()}.values())


def inactive(model: nn.Module) -> int:
    """Elements of the experts that a token does not take, by the names that `transformers` gives them."""
    left_out = 0
    for name, parameter in model.named_parameters():
        if ".experts." in name:
            experts, chosen = parameter.shape[0], model.config.num_experts_per_tok
            left_out += (experts - chosen) * parameter[0].numel()
    return left_out


@pytest.mark.parametrize(("family", "seed"), CASES)
def test_parameters_are_those_of_the_real_model(family: str, seed: int) -> None:
    config = random_config(family, seed)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config)
    found = architecture_from_config(config)
    assert found.num_params() == parameters(model)
    assert found.num_active_params() == parameters(model) - inactive(model)


@pytest.mark.parametrize(("family", "seed"), [case for case in CASES if can_cache(*case)])
@torch.no_grad()
def test_cache_and_state_are_those_of_the_real_model(family: str, seed: int) -> None:
    """After one token, which is within every window."""
    model, architecture = random_model(family, seed), architecture_from_config(random_config(family, seed))
    out = model(random_tokens(1, 1), use_cache=True)
    cache = out.cache_params if hasattr(out, "cache_params") else out.past_key_values
    kept = state = 0
    for layer in cache.layers:
        for name in ("keys", "values"):
            kept += getattr(layer, name, None).numel() if getattr(layer, name, None) is not None else 0
        for name in ("conv_states", "recurrent_states"):
            state += sum(tensor.numel() for tensor in getattr(layer, name, {}).values() if tensor is not None)
    assert architecture.kv_bytes_per_token(bytes_per_element=1) == kept
    assert architecture.state_elements() == state


# Fields as the published configurations have them, and the counts that go with them.
PUBLISHED: dict[str, tuple[dict[str, Any], tuple[int, int, int, int]]] = {
    "llama": (
        {
            "vocab_size": 128_256,
            "hidden_size": 2048,
            "num_hidden_layers": 16,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 64,
            "intermediate_size": 8192,
            "tie_word_embeddings": True,
            "rope_theta": 500_000.0,
            "rope_scaling": {
                "factor": 32.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 8192,
                "rope_type": "llama3",
            },
            "max_position_embeddings": 131_072,
        },
        (1_235_814_400, 1_235_814_400, 32_768, 0),
    ),
    "mistral": ({"sliding_window": 4096, "rope_theta": 10_000.0}, (7_241_732_096, 7_241_732_096, 131_072, 0)),
    "mixtral": ({"rope_theta": 1e6, "router_aux_loss_coef": 0.02}, (46_702_792_704, 12_879_925_248, 131_072, 0)),
    "deepseek_v2": (
        {
            "vocab_size": 102_400,
            "hidden_size": 2048,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "num_key_value_heads": 16,
            "q_lora_rank": None,
            "first_k_dense_replace": 1,
            "intermediate_size": 10_944,
            "moe_intermediate_size": 1408,
            "n_routed_experts": 64,
            "n_shared_experts": 2,
            "num_experts_per_tok": 6,
            "n_group": 1,
            "topk_group": 1,
            "topk_method": "greedy",
            "norm_topk_prob": False,
            "moe_layer_freq": 1,
            "scoring_func": "softmax",
            "seq_aux": True,
            "aux_loss_alpha": 0.001,
            "max_position_embeddings": 163_840,
            "rope_scaling": {
                "beta_fast": 32,
                "beta_slow": 1,
                "factor": 40,
                "mscale": 0.707,
                "mscale_all_dim": 0.707,
                "original_max_position_embeddings": 4096,
                "type": "yarn",
            },
        },
        (15_706_484_224, 2_661_150_208, 31_104, 0),
    ),
    "qwen3_moe": (
        {
            "num_hidden_layers": 48,
            "head_dim": 128,
            "max_window_layers": 48,
            "mlp_only_layers": [],
            "norm_topk_prob": True,
            "rope_theta": 1e6,
            "rope_scaling": None,
        },
        (30_532_122_624, 3_353_032_704, 98_304, 0),
    ),
    "jamba": (
        {"mamba_dt_rank": 256, "mamba_inner_layernorms": True, "n_ctx": 262_144, "sliding_window": None},
        (51_570_323_328, 12_110_311_296, 16_384, 4_587_520),
    ),
    "mamba2": (
        {
            "vocab_size": 50_288,
            "hidden_size": 2048,
            "num_hidden_layers": 48,
            "num_heads": 64,
            "n_groups": 1,
            "tie_word_embeddings": True,
        },
        (1_343_757_312, 1_343_757_312, 0, 25_165_824 + 835_584),
    ),
    # Bamba-9B and Nemotron-H-8B, with fields that nothing reads.
    "bamba": (
        {
            "vocab_size": 128_256,
            "attn_layer_indices": [9, 18, 27],
            "attn_rotary_emb": 64,
            "mamba_d_state": 128,
            "rope_theta": 10_000.0,
        },
        (9_780_235_392, 9_780_235_392, 3 * 2 * 8 * 128 * 2, 29 * (8192 * 128 + (8192 + 2 * 128) * 4)),
    ),
    # As they are published, with fields that no class reads.
    "qwen3_next": (
        {
            "full_attention_interval": 4,
            "intermediate_size": 5120,
            "partial_rotary_factor": 0.25,
            "rope_scaling": None,
            "rope_theta": 10_000_000,
            "use_sliding_window": False,
        },
        (79_674_391_296, 3_874_929_408, 12 * 2 * 2 * 256 * 2, 36 * (32 * 128 * 128 + 4 * (2 * 16 + 32) * 128)),
    ),
    "kimi_linear": (
        {
            "head_dim": 72,
            "linear_attn_config": {
                "kda_layers": [layer for layer in range(1, 27) if layer % 4],
                "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
                "num_heads": 32,
                "head_dim": 128,
                "short_conv_kernel_size": 4,
            },
            "rope_theta": 10_000.0,
            "mla_use_nope": True,
            "moe_router_activation_func": "sigmoid",
            "first_k_dense_replace": 1,
            "moe_layer_freq": 1,
            "use_grouped_topk": True,
            "num_nextn_predict_layers": 0,
        },
        (49_122_675_072, 3_484_453_248, 7 * (512 + 64) * 2, 20 * (32 * 128 * 128 + 4 * 3 * 32 * 128)),
    ),
    "nemotron_h": (
        {
            "hidden_size": 4096,
            "hybrid_override_pattern": "M-M-M-M*-" + 3 * "M-M-M-M-M*-" + 5 * "M-",
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "attention_head_dim": 128,
            "intermediate_size": 21_504,
            "mamba_num_heads": 128,
            "mamba_head_dim": 64,
            "n_groups": 8,
            "ssm_state_size": 128,
            "rms_norm_eps": 1e-5,
            "time_step_rank": 256,
            "vocab_size": 131_072,
        },
        (8_100_852_736, 8_100_852_736, 4 * 2 * 8 * 128 * 2, 24 * (8192 * 128 + (8192 + 2 * 8 * 128) * 4)),
    ),
}

# Files as they are published, LFM2-700M's with Liquid's own fields, and the ids of the presets that they are.
LFM2_700M: dict[str, Any] = {
    **{"block_auto_adjust_ff_dim": True, "block_dim": 1536, "block_ff_dim": 10_240, "block_ffn_dim_multiplier": 1.0},
    **{"block_mlp_init_scale": 1.0, "block_multiple_of": 256, "block_norm_eps": 1e-05, "block_out_init_scale": 1.0},
    **{"block_use_swiglu": True, "block_use_xavier_init": True, "conv_L_cache": 3, "conv_bias": False},
    **{"conv_dim": 1536, "conv_dim_out": 1536, "conv_use_xavier_init": True, "full_attn_idxs": [2, 5, 8, 10, 12, 14]},
    **{"hidden_size": 1536, "norm_eps": 1e-05, "num_attention_heads": 24, "num_heads": 24, "num_hidden_layers": 16},
    **{"num_key_value_heads": 8, "rope_theta": 1e6, "use_pos_enc": True, "vocab_size": 65_536},
}
NEMOTRON_3: dict[str, Any] = {
    **{"chunk_size": 128, "conv_kernel": 4, "expand": 2, "head_dim": 128, "layer_norm_epsilon": 1e-05},
    **{"mamba_head_dim": 64, "mlp_hidden_act": "relu2", "n_group": 1, "n_groups": 8, "n_shared_experts": 1},
    **{"norm_topk_prob": True, "num_attention_heads": 32, "num_key_value_heads": 2, "ssm_state_size": 128},
    **{"time_step_min": 0.001, "topk_group": 1, "vocab_size": 131_072, "rope_theta": 10_000},
}
NEMOTRON_3_NANO: dict[str, Any] = {
    **NEMOTRON_3,
    **{"hidden_size": 2688, "intermediate_size": 1856, "moe_intermediate_size": 1856, "mamba_num_heads": 64},
    **{"moe_shared_expert_intermediate_size": 3712, "n_routed_experts": 128, "num_experts_per_tok": 6},
    **{"routed_scaling_factor": 2.5, "hybrid_override_pattern": 5 * "MEMEM*E" + "MEMEMEM*EMEMEMEME"},
}
NEMOTRON_3_SUPER: dict[str, Any] = {
    **NEMOTRON_3,
    **{"hidden_size": 4096, "intermediate_size": 2688, "moe_intermediate_size": 2688, "mamba_num_heads": 128},
    **{"moe_shared_expert_intermediate_size": 5376, "n_routed_experts": 512, "num_experts_per_tok": 22},
    **{"routed_scaling_factor": 5.0, "moe_latent_size": 1024, "num_nextn_predict_layers": 1},
    "hybrid_override_pattern": 3 * "MEMEMEM*E" + 4 * "MEMEMEMEM*E" + "MEMEMEM*EMEMEMEME",
}


FALCON_H1: dict[str, Any] = {
    **{"attention_in_multiplier": 1.0, "attention_out_multiplier": 0.9375, "attn_layer_indices": None},
    **{"embedding_multiplier": 5.656854249492381, "head_dim": 64, "hidden_size": 1024, "intermediate_size": 2048},
    **{"key_multiplier": 0.39062499999999994, "lm_head_multiplier": 0.0390625, "mamba_chunk_size": 128},
    **{"mamba_d_conv": 4, "mamba_d_head": 64, "mamba_d_ssm": 1536, "mamba_d_state": 128, "mamba_expand": 2},
    **{"mamba_n_groups": 1, "mamba_n_heads": 24, "mamba_norm_before_gate": False, "mamba_rms_norm": False},
    **{"mamba_use_mlp": True, "max_position_embeddings": 16384, "num_attention_heads": 8, "num_hidden_layers": 36},
    **{"mlp_multipliers": [0.8838834764831844, 0.5859375], "num_key_value_heads": 2, "rope_scaling": None},
    **{"rope_theta": 1e11, "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.23570226039551587},
    **{"ssm_multipliers": [0.3535533905932738, 0.25, 0.3535533905932738, 0.5, 0.3535533905932738]},
    **{"tie_word_embeddings": False, "vocab_size": 32784},
}


def test_published_files_are_the_presets() -> None:
    for family, fields, preset in (
        ("lfm2", LFM2_700M, "lfm2-700m"),
        ("nemotron_h", NEMOTRON_3_NANO, "nemotron-3-nano-30b-a3b"),
        ("falcon_h1", FALCON_H1, "falcon-h1-0.5b"),
    ):
        assert architecture_from_config(AutoConfig.for_model(family, **fields)).id == load_preset(preset).id


def test_the_classes_own_defaults_are_the_preset() -> None:
    config = AutoConfig.for_model("olmo_hybrid", rope_parameters={"rope_type": "default", "rope_theta": None})
    assert architecture_from_config(config).id == load_preset("olmo-hybrid-7b").id
    with torch.device("meta"):
        assert parameters(AutoModelForCausalLM.from_config(config)) == load_preset("olmo-hybrid-7b").num_params()


def test_latent_experts_of_a_published_model() -> None:
    found = architecture_from_config(AutoConfig.for_model("nemotron_h", **NEMOTRON_3_SUPER))
    assert found.num_params() == 120_668_687_360


@pytest.mark.parametrize("family", PUBLISHED)
def test_counts_of_published_models(family: str) -> None:
    fields, expected = PUBLISHED[family]
    found = architecture_from_config(AutoConfig.for_model(family, **fields))
    counts = (found.num_params(), found.num_active_params(), found.kv_bytes_per_token(), found.state_elements())
    assert counts == expected


def count(architecture: Architecture) -> None:
    architecture.num_params()
    architecture.num_active_params()
    architecture.kv_bytes_per_token()
    architecture.state_elements()
    for mode in ("train", "prefill", "decode"):
        architecture.flops_per_token(4096, mode)


# What a family's class has no usable default for.
MISSING: dict[str, dict[str, Any]] = {
    "deepseek_v2": {"num_experts_per_tok": 6},
    "lfm2_moe": {"layer_types": ["conv", "conv", "conv", "full_attention"] * 8},
}


@pytest.mark.parametrize("family", DRAWS)
def test_counting_takes_less_than_a_millisecond(family: str) -> None:
    """At full depth, in processor time; a slow processor, seen to take 1.8 ms, may take three times as long."""
    architecture, seconds = architecture_from_config(AutoConfig.for_model(family, **MISSING.get(family, {}))), []
    for _ in range(15):
        start = time.thread_time()
        count(architecture)
        seconds.append(time.thread_time() - start)
    assert statistics.median(seconds) < 3e-3
