"""Tiny configurations of every family, drawn over the options that the family has."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

VOCAB = 53
# Of a head whose vectors get length one: a narrower one is nearly zero now and then, and both sides lose digits to it.
LENGTHS = (7, 14)


def common(rng: random.Random, layers: int = 3) -> dict[str, Any]:
    return {
        "vocab_size": VOCAB,
        "num_hidden_layers": rng.randint(1, layers),
        "tie_word_embeddings": rng.random() < 0.5,
        "max_position_embeddings": 512,
        "bos_token_id": None,
        "eos_token_id": None,
        "pad_token_id": None,
    }


def heads(rng: random.Random, free_head_dim: bool = True, even_part: int = 2) -> dict[str, Any]:
    """Widths such that head_dim, where it is given, need not be hidden_size / heads."""
    kv, groups = rng.choice([1, 2, 3]), rng.choice([1, 2])
    head_dim = even_part * rng.randint(2, 5)
    chosen = {"num_attention_heads": kv * groups, "num_key_value_heads": kv, "hidden_size": kv * groups * head_dim}
    if free_head_dim and rng.random() < 0.6:
        chosen |= {"head_dim": even_part * rng.randint(1, 9), "hidden_size": kv * groups * rng.randint(4, 9)}
    return chosen


def rope(rng: random.Random, mscale: bool = False) -> dict[str, Any]:
    parameters: dict[str, Any] = {"rope_theta": rng.choice([100.0, 10_000.0, 1e6])}
    method = rng.choice(["default", "linear", "llama3", "yarn", "yarn"])
    parameters["rope_type"] = method
    if method != "default":
        parameters["factor"] = rng.choice([1.5, 2.0, 8.0])
    if method in ("llama3", "yarn"):
        parameters["original_max_position_embeddings"] = rng.choice([8, 32, 128])
    if method == "llama3":
        parameters |= {"low_freq_factor": rng.choice([1.0, 2.0]), "high_freq_factor": 4.0}
    if method == "yarn":
        parameters |= rng.choice([{}, {"attention_factor": 1.3}, {"beta_fast": 16, "beta_slow": 2}])
        parameters |= rng.choice([{}, {"mscale": 0.8, "mscale_all_dim": 0.6}, {"truncate": False}])
    if mscale and method != "default":
        parameters["mscale_all_dim"] = rng.choice([0.0, 0.707])
    return {"rope_parameters": parameters}


def coin(rng: random.Random, *names: str) -> dict[str, bool]:
    return {name: rng.random() < 0.5 for name in names}


def llama(rng: random.Random) -> dict[str, Any]:
    return {
        **common(rng),
        **heads(rng),
        **rope(rng),
        **coin(rng, "attention_bias", "mlp_bias"),
        "intermediate_size": rng.randint(8, 40),
        "hidden_act": rng.choice(["silu", "silu", "gelu", "linear"]),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def mistral(rng: random.Random) -> dict[str, Any]:
    return {
        **common(rng),
        **heads(rng),
        **rope(rng),
        "sliding_window": rng.choice([None, 2, 4, 7, 64]),
        "intermediate_size": rng.randint(8, 40),
    }


def mixtral(rng: random.Random) -> dict[str, Any]:
    experts = rng.randint(2, 6)
    chosen = {**common(rng), **heads(rng), **rope(rng)}
    # YaRN reads head_dim, which is None unless given.
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    return {
        **chosen,
        "sliding_window": rng.choice([None, None, 5]),
        "intermediate_size": rng.randint(8, 24),
        "num_local_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        **coin(rng, "output_router_logits"),
    }


def qwen3(rng: random.Random) -> dict[str, Any]:
    chosen = {**common(rng, 4), **heads(rng), **rope(rng), **coin(rng, "attention_bias", "use_sliding_window")}
    chosen.setdefault("head_dim", 6)
    return {
        **chosen,
        "sliding_window": 5,
        "max_window_layers": rng.randint(0, 3),
        "intermediate_size": rng.randint(8, 40),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def qwen3_moe(rng: random.Random) -> dict[str, Any]:
    experts = rng.randint(2, 6)
    chosen = {**common(rng, 4), **heads(rng), **rope(rng)}
    return {
        **chosen,
        **coin(rng, "attention_bias", "use_sliding_window", "norm_topk_prob", "output_router_logits"),
        "sliding_window": 4,
        "intermediate_size": rng.randint(8, 40),
        "moe_intermediate_size": rng.randint(4, 20),
        "num_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        "decoder_sparse_step": rng.choice([1, 2, 3]),
        "mlp_only_layers": rng.choice([None, None, [1, 2]]),
    }


def deepseek(rng: random.Random) -> dict[str, Any]:
    heads = rng.choice([1, 2, 3])
    groups, per_group = rng.choice([1, 2, 3]), rng.randint(2, 3)
    used = rng.randint(1, groups)
    return {
        **common(rng, 4),
        **rope(rng, mscale=True),
        "hidden_size": heads * rng.randint(5, 12),
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "q_lora_rank": rng.choice([None, 7, 16]),
        "kv_lora_rank": rng.choice([5, 12]),
        "qk_nope_head_dim": rng.choice([4, 7]),
        "qk_rope_head_dim": rng.choice([2, 6, 8]),
        "v_head_dim": rng.choice([3, 9]),
        "attention_bias": rng.random() < 0.5,
        "intermediate_size": rng.randint(8, 40),
        "moe_intermediate_size": rng.randint(4, 20),
        "n_routed_experts": groups * per_group,
        "n_shared_experts": rng.choice([1, 2]),
        "n_group": groups,
        "topk_group": used,
        "num_experts_per_tok": rng.randint(1, used * per_group),
        "routed_scaling_factor": rng.choice([1.0, 2.5]),
        "first_k_dense_replace": rng.choice([0, 0, 1, 2]),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def deepseek_v2(rng: random.Random) -> dict[str, Any]:
    methods = ["greedy", "group_limited_greedy", "group_limited_greedy"]
    chosen = {**deepseek(rng), **coin(rng, "mlp_bias", "norm_topk_prob"), "topk_method": rng.choice(methods)}
    # Its complex numbers are views, which odd strides do not allow.
    return {**chosen, "kv_lora_rank": rng.choice([6, 12]), "qk_nope_head_dim": rng.choice([4, 8])}


def deepseek_v3(rng: random.Random) -> dict[str, Any]:
    return {**deepseek(rng), **coin(rng, "norm_topk_prob", "rope_interleave")}


def state_space(rng: random.Random, width: int, names: dict[str, str]) -> dict[str, Any]:
    """A Mamba-2 of inner width 2 or 1 x `width`, which is a multiple of 12."""
    expand = rng.choice([1, 2])
    head_dim = rng.choice([2, 3, 4, 6])
    heads = expand * width // head_dim
    groups = rng.choice([one for one in (1, 2, 3, 4) if heads % one == 0])
    chosen = {
        "expand": expand,
        "head_dim": head_dim,
        "heads": heads,
        "groups": groups,
        "state": rng.choice([1, 5, 8]),
        "taps": rng.choice([2, 3, 4]),
        "chunk": rng.choice([4, 16]),
        "conv_bias": rng.random() < 0.5,
        "bias": rng.random() < 0.5,
    }
    return {names[name]: value for name, value in chosen.items()}


HYBRID = {
    "expand": "mamba_expand",
    "head_dim": "mamba_d_head",
    "heads": "mamba_n_heads",
    "groups": "mamba_n_groups",
    "state": "mamba_d_state",
    "taps": "mamba_d_conv",
    "chunk": "mamba_chunk_size",
    "conv_bias": "mamba_conv_bias",
    "bias": "mamba_proj_bias",
}


def mamba2(rng: random.Random) -> dict[str, Any]:
    names = {
        "expand": "expand",
        "head_dim": "head_dim",
        "heads": "num_heads",
        "groups": "n_groups",
        "state": "state_size",
        "taps": "conv_kernel",
        "chunk": "chunk_size",
        "conv_bias": "use_conv_bias",
        "bias": "use_bias",
    }
    width = 12 * rng.randint(1, 3)
    return {
        **common(rng),
        **state_space(rng, width, names),
        "hidden_size": width,
        "layer_norm_epsilon": rng.choice([1e-5, 1e-3]),
    }


def mamba(rng: random.Random) -> dict[str, Any]:
    return {
        **common(rng),
        "hidden_size": rng.randint(8, 40),
        "state_size": rng.choice([1, 4, 16]),
        "expand": rng.choice([1, 2, 3]),
        "conv_kernel": rng.choice([2, 3, 4]),
        "time_step_rank": rng.choice(["auto", 1, 5]),
        "layer_norm_epsilon": rng.choice([1e-5, 1e-3]),
        **coin(rng, "use_bias", "use_conv_bias"),
    }


def jamba(rng: random.Random) -> dict[str, Any]:
    experts = rng.choice([1, 2, 5])
    period = rng.randint(1, 3)
    sparse = rng.randint(1, 3)
    return {
        **common(rng, 5),
        **heads(rng),
        **coin(rng, "mamba_conv_bias", "mamba_proj_bias", "output_router_logits"),
        "intermediate_size": rng.randint(8, 24),
        "attn_layer_period": period,
        "attn_layer_offset": rng.randrange(period),
        "expert_layer_period": sparse,
        "expert_layer_offset": rng.randrange(sparse),
        "num_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        "mamba_d_state": rng.choice([1, 4]),
        "mamba_d_conv": rng.choice([2, 4]),
        "mamba_expand": rng.choice([1, 2]),
        "mamba_dt_rank": rng.choice(["auto", 3]),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def hybrid(rng: random.Random) -> dict[str, Any]:
    """Heads and Mamba-2 of one width."""
    chosen = {**heads(rng, even_part=4), "hidden_size": 12 * rng.randint(1, 3)}
    chosen.setdefault("head_dim", 8)
    return {**chosen, **state_space(rng, chosen["hidden_size"], HYBRID), **coin(rng, "attention_bias")}


def bamba(rng: random.Random) -> dict[str, Any]:
    return {
        **common(rng, 4),
        **hybrid(rng),
        **rope(rng),
        **coin(rng, "mlp_bias"),
        "attn_layer_indices": rng.choice([None, [0], [1], [0, 2]]),
        "intermediate_size": rng.randint(8, 40),
    }


def granitemoehybrid(rng: random.Random) -> dict[str, Any]:
    experts = rng.choice([0, 3, 5])
    chosen = {**common(rng, 4), **hybrid(rng), **rope(rng)}
    types = ["full_attention", "linear_attention"]
    return {
        **chosen,
        "layer_types": [rng.choice(types) for _ in range(chosen["num_hidden_layers"])],
        "position_embedding_type": rng.choice([None, "nope", "rope", "rope"]),
        "intermediate_size": rng.randint(4, 20),
        "shared_intermediate_size": rng.randint(4, 30),
        **coin(rng, "output_router_logits"),
        "num_local_experts": experts,
        "num_experts_per_tok": rng.randint(1, max(experts, 1)),
        "embedding_multiplier": rng.choice([1, 3.0]),
        "residual_multiplier": rng.choice([1.0, 0.3]),
        "attention_multiplier": rng.choice([1.0, 0.2]),
        "logits_scaling": rng.choice([1, 4.0]),
    }


def nemotron_h(rng: random.Random) -> dict[str, Any]:
    names = {
        "expand": "expand",
        "head_dim": "mamba_head_dim",
        "heads": "mamba_num_heads",
        "groups": "n_groups",
        "state": "ssm_state_size",
        "taps": "conv_kernel",
        "chunk": "chunk_size",
        "conv_bias": "use_conv_bias",
        "bias": "use_bias",
    }
    groups, per_group = rng.choice([1, 2]), rng.randint(2, 3)
    used = rng.randint(1, groups)
    types = ["linear_attention", "full_attention", "moe", "mlp"]
    layers = [rng.choice(types) for _ in range(rng.randint(1, 5))]
    if rng.random() < 0.7:
        layers.insert(rng.randrange(len(layers)), "full_attention")
    chosen = {**common(rng), **heads(rng), **state_space(rng, 24, names)}
    chosen.setdefault("head_dim", 6)
    del chosen["num_hidden_layers"]
    return {
        **chosen,
        **coin(rng, "mlp_bias", "norm_topk_prob", "attention_bias"),
        "layers_block_type": layers,
        "intermediate_size": rng.randint(8, 40),
        "moe_intermediate_size": rng.randint(4, 20),
        "moe_shared_expert_intermediate_size": rng.randint(4, 20),
        "moe_latent_size": rng.choice([None, 5, 11]),
        "mlp_hidden_act": rng.choice(["relu2", "relu2", "gelu"]),
        "n_routed_experts": groups * per_group,
        "n_group": groups,
        "topk_group": used,
        "num_experts_per_tok": rng.randint(1, used * per_group),
        "routed_scaling_factor": rng.choice([1.0, 2.5]),
        "time_step_min": 1e-6,
    }


def qwen3_next(rng: random.Random) -> dict[str, Any]:
    chosen = {**common(rng, 4), **heads(rng, even_part=4), **rope(rng)}
    chosen["rope_parameters"]["partial_rotary_factor"] = rng.choice([0.5, 1.0])
    keys, experts, layers = rng.choice([1, 2]), rng.choice([0, 3, 5]), chosen["num_hidden_layers"]
    types = ["full_attention", "linear_attention"]
    return {
        **chosen,
        **coin(rng, "attention_bias", "norm_topk_prob", "output_router_logits"),
        "layer_types": [rng.choice(types) for _ in range(layers)],
        "intermediate_size": rng.randint(8, 30),
        "mlp_only_layers": rng.sample(range(layers), rng.choice([0, 1])),
        "decoder_sparse_step": rng.choice([1, 1, 2]),
        "num_experts": experts,
        "num_experts_per_tok": rng.randint(1, max(experts, 1)),
        "moe_intermediate_size": rng.randint(4, 20),
        "shared_expert_intermediate_size": rng.randint(4, 20),
        "linear_num_key_heads": keys,
        "linear_num_value_heads": keys * rng.choice([1, 2, 3]),
        "linear_key_head_dim": rng.randint(*LENGTHS),
        "linear_value_head_dim": rng.randint(3, 9),
        "linear_conv_kernel_dim": rng.choice([2, 4]),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def kimi_linear(rng: random.Random) -> dict[str, Any]:
    chosen, num_heads = common(rng, 4), rng.choice([1, 2, 3])
    layers, groups, per_group = chosen["num_hidden_layers"], rng.choice([1, 2]), rng.randint(2, 3)
    used = rng.randint(1, groups)
    return {
        **chosen,
        **coin(rng, "moe_renormalize", "attention_bias"),
        "hidden_size": rng.randint(12, 30),
        "layer_types": [rng.choice(["full_attention", "linear_attention"]) for _ in range(layers)],
        "mlp_layer_types": [rng.choice(["dense", "sparse"]) for _ in range(layers)],
        "num_attention_heads": num_heads,
        "num_key_value_heads": num_heads,
        "kv_lora_rank": rng.randint(4, 12),
        "q_lora_rank": rng.choice([None, 7]),
        "qk_nope_head_dim": rng.randint(3, 9),
        "qk_rope_head_dim": rng.randint(3, 9),
        "v_head_dim": rng.randint(3, 9),
        "intermediate_size": rng.randint(8, 30),
        "moe_intermediate_size": rng.randint(4, 20),
        "num_experts": groups * per_group,
        "num_shared_experts": rng.choice([1, 2]),
        "num_expert_group": groups,
        "topk_group": used,
        "num_experts_per_token": rng.randint(1, used * per_group),
        "routed_scaling_factor": rng.choice([1.0, 2.5]),
        "linear_num_heads": rng.choice([1, 2, 3]),
        "linear_head_dim": rng.randint(*LENGTHS),
        "linear_conv_kernel_dim": rng.choice([2, 4]),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def short_convolutions(rng: random.Random) -> dict[str, Any]:
    chosen = {**common(rng, 4), **heads(rng, free_head_dim=False, even_part=2), **rope(rng)}
    return {
        **chosen,
        **coin(rng, "conv_bias"),
        "layer_types": [rng.choice(["conv", "conv", "full_attention"]) for _ in range(chosen["num_hidden_layers"])],
        "conv_L_cache": rng.choice([3, 4, 7]),
        "norm_eps": rng.choice([1e-6, 1e-3]),
    }


def lfm2(rng: random.Random) -> dict[str, Any]:
    return {
        **short_convolutions(rng),
        **coin(rng, "block_auto_adjust_ff_dim"),
        # Read where there are no layer_types alone.
        "full_attn_idxs": [0],
        "intermediate_size": rng.randint(8, 40),
        "block_ffn_dim_multiplier": rng.choice([0.5, 1.0, 1.3]),
        "block_multiple_of": rng.choice([1, 4, 7]),
    }


def lfm2_moe(rng: random.Random) -> dict[str, Any]:
    experts = rng.randint(2, 5)
    return {
        **short_convolutions(rng),
        **coin(rng, "norm_topk_prob", "use_expert_bias", "output_router_logits"),
        "intermediate_size": rng.randint(8, 40),
        "moe_intermediate_size": rng.randint(4, 20),
        "num_dense_layers": rng.choice([0, 1, 2]),
        "num_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        "routed_scaling_factor": rng.choice([1.0, 2.5]),
    }


def gpt_oss(rng: random.Random) -> dict[str, Any]:
    experts, chosen = rng.randint(2, 5), {**common(rng, 4), **heads(rng), **rope(rng)}
    types = ["full_attention", "sliding_attention"]
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    return {
        **chosen,
        **coin(rng, "attention_bias", "output_router_logits"),
        "layer_types": [rng.choice(types) for _ in range(chosen["num_hidden_layers"])],
        "sliding_window": rng.choice([2, 4, 64]),
        "intermediate_size": rng.randint(4, 20),
        "num_local_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def falcon_h1(rng: random.Random) -> dict[str, Any]:
    kv, width = rng.choice([1, 2, 3]), 12 * rng.randint(1, 3)
    state = state_space(rng, width, HYBRID)
    inner = state["mamba_n_heads"] * state["mamba_d_head"]

    def factors(count: int) -> list[float]:
        return [rng.choice([0.25, 0.6, 1.0, 1.7]) for _ in range(count)]

    names = ("lm_head_multiplier", "embedding_multiplier", "key_multiplier", "attention_in_multiplier")
    names += ("attention_out_multiplier", "ssm_in_multiplier", "ssm_out_multiplier")
    return {
        **common(rng),
        **rope(rng),
        **state,
        "projectors_bias": state["mamba_proj_bias"],
        "mamba_d_ssm": rng.choice([None, inner]),
        **coin(rng, "mamba_rms_norm", "mamba_norm_before_gate", "attention_bias", "mlp_bias"),
        "hidden_size": width,
        "num_attention_heads": 2 * kv,
        "num_key_value_heads": kv,
        "head_dim": 2 * rng.randint(2, 6),
        "intermediate_size": rng.randint(8, 40),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
        **dict(zip(names, factors(7), strict=True)),
        "mlp_multipliers": factors(2),
        "ssm_multipliers": factors(5),
    }


def gated_deltanets(rng: random.Random) -> dict[str, Any]:
    keys = rng.choice([1, 2])
    return {
        "linear_num_key_heads": keys,
        "linear_num_value_heads": keys * rng.choice([1, 2, 3]),
        "linear_key_head_dim": rng.randint(*LENGTHS),
        "linear_value_head_dim": rng.randint(3, 9),
        "linear_conv_kernel_dim": rng.choice([2, 4]),
        "rms_norm_eps": rng.choice([1e-6, 1e-5, 1e-3]),
    }


def qwen3_5_text(rng: random.Random) -> dict[str, Any]:
    chosen = {**common(rng, 4), **heads(rng, even_part=4), **rope(rng), **gated_deltanets(rng)}
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    chosen["rope_parameters"]["partial_rotary_factor"] = rng.choice([0.5, 1.0])
    types = ["full_attention", "linear_attention"]
    return {
        **chosen,
        **coin(rng, "attention_bias"),
        "layer_types": [rng.choice(types) for _ in range(chosen["num_hidden_layers"])],
        "intermediate_size": rng.randint(8, 30),
    }


def qwen3_5_moe_text(rng: random.Random) -> dict[str, Any]:
    experts, chosen = rng.choice([2, 5]), qwen3_5_text(rng)
    del chosen["intermediate_size"]
    return {
        **chosen,
        **coin(rng, "output_router_logits"),
        "num_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        "moe_intermediate_size": rng.randint(4, 20),
        "shared_expert_intermediate_size": rng.randint(4, 20),
    }


def olmo_hybrid(rng: random.Random) -> dict[str, Any]:
    chosen = {**common(rng), **heads(rng), **rope(rng), **gated_deltanets(rng)}
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    # At least one layer of each.
    types = ["full_attention", "linear_attention", rng.choice(["full_attention", "linear_attention"])]
    rng.shuffle(types)
    chosen["rope_parameters"] = rng.choice([chosen["rope_parameters"], {"rope_type": "default", "rope_theta": None}])
    return {
        **chosen,
        **coin(rng, "attention_bias", "linear_allow_neg_eigval"),
        "num_hidden_layers": len(types),
        "layer_types": types,
        "intermediate_size": rng.randint(8, 30),
    }


def minimax_m2(rng: random.Random) -> dict[str, Any]:
    experts, chosen = rng.randint(2, 6), {**common(rng), **heads(rng, even_part=4), **rope(rng)}
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    chosen["rope_parameters"]["partial_rotary_factor"] = rng.choice([0.5, 1.0])
    return {
        **chosen,
        **coin(rng, "output_router_logits"),
        "intermediate_size": rng.randint(4, 20),
        "num_local_experts": experts,
        "num_experts_per_tok": rng.randint(1, experts),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def typed(rng: random.Random, layers: int, *types: str) -> list[str]:
    return [rng.choice(types) for _ in range(layers)]


def gemma3_text(rng: random.Random) -> dict[str, Any]:
    chosen = {**common(rng, 4), **heads(rng)}
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    # Its class wants it a multiple.
    chosen["hidden_size"] = chosen["num_attention_heads"] * rng.randint(4, 9)
    kinds = ["full_attention", "sliding_attention"]
    return {
        **chosen,
        **coin(rng, "attention_bias"),
        "layer_types": typed(rng, chosen["num_hidden_layers"], *kinds),
        "rope_parameters": {kind: rope(rng)["rope_parameters"] for kind in kinds},
        "sliding_window": rng.choice([2, 5, 64]),
        "query_pre_attn_scalar": rng.choice([chosen["head_dim"], 11]),
        "hidden_activation": rng.choice(["gelu_pytorch_tanh", "gelu_pytorch_tanh", "silu"]),
        "intermediate_size": rng.randint(8, 30),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


def lfm3(rng: random.Random) -> dict[str, Any]:
    chosen, base = {**common(rng, 5), **heads(rng, even_part=4)}, rng.choice([100.0, 1e6])
    chosen.setdefault("head_dim", chosen["hidden_size"] // chosen["num_attention_heads"])
    gated = rng.random() < 0.7
    partial = {"rope_type": "proportional", "rope_theta": base, "partial_rotary_factor": rng.choice([0.5, 1.0])}
    return {
        **chosen,
        **coin(rng, "conv_bias", "use_sandwich_norm"),
        "layer_types": typed(rng, chosen["num_hidden_layers"], "conv", "full_attention", "sliding_attention"),
        "rope_parameters": {
            "full_attention": {**partial, **rng.choice([{}, {"factor": 4.0}])},
            "sliding_attention": rope(rng)["rope_parameters"],
        },
        "sliding_window": rng.choice([2, 5, 64]),
        "use_attention_gate": gated,
        "attention_bias": not gated and rng.random() < 0.7,
        "intermediate_size": rng.randint(8, 30),
        "conv_L_cache": rng.choice([3, 7]),
        "norm_eps": rng.choice([1e-6, 1e-3]),
    }


def mimo_v2_flash(rng: random.Random) -> dict[str, Any]:
    kv, groups, per_group, repeats = rng.choice([1, 2]), rng.choice([1, 2]), rng.randint(2, 3), rng.choice([1, 2])
    used, chosen = rng.randint(1, groups), common(rng, 4)
    kinds = ["full_attention", "sliding_attention"]

    def positions() -> dict[str, Any]:
        return {**rope(rng)["rope_parameters"], "partial_rotary_factor": rng.choice([0.5, 1.0])}

    return {
        **chosen,
        **coin(rng, "attention_bias", "norm_topk_prob", "output_router_logits"),
        "hidden_size": rng.randint(16, 40),
        "num_attention_heads": 2 * kv * repeats,
        "num_key_value_heads": kv,
        "head_dim": 4 * rng.randint(1, 4),
        "v_head_dim": rng.randint(3, 12),
        "attention_value_scale": rng.choice([None, 0.707]),
        "layer_types": typed(rng, chosen["num_hidden_layers"], *kinds),
        "mlp_layer_types": typed(rng, chosen["num_hidden_layers"], "dense", "sparse"),
        "rope_parameters": {kind: positions() for kind in kinds},
        "sliding_window": rng.choice([2, 5, 64]),
        "intermediate_size": rng.randint(8, 30),
        "moe_intermediate_size": rng.randint(4, 20),
        "n_routed_experts": groups * per_group,
        "n_group": groups,
        "topk_group": used,
        "num_experts_per_tok": rng.randint(1, used * per_group),
        "routed_scaling_factor": rng.choice([1.0, 2.5]),
        "rms_norm_eps": rng.choice([1e-6, 1e-3]),
    }


DRAWS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    draw.__name__: draw
    for draw in (
        llama,
        mistral,
        mixtral,
        qwen3,
        qwen3_moe,
        deepseek_v2,
        deepseek_v3,
        mamba2,
        mamba,
        jamba,
        bamba,
        granitemoehybrid,
        nemotron_h,
        qwen3_next,
        kimi_linear,
        lfm2,
        lfm2_moe,
        gpt_oss,
        falcon_h1,
        olmo_hybrid,
        minimax_m2,
        qwen3_5_text,
        qwen3_5_moe_text,
        gemma3_text,
        lfm3,
        mimo_v2_flash,
    )
}
