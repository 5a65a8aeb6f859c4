"""A model of `transformers` for each family: 4 layers at a setting's width, the proportions of its public models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.operators.settings import NUM_LAYERS, SEED, VOCAB_SIZE, WINDOW, Setting

HEAD_DIM = 64
# Of 64, 128 and 256 the one that suits the peer best at both settings; what is computed does not depend on it.
CHUNK_SIZE = 128
# The peer's Mamba-1 is a loop over tokens on a CPU, and the backward pass of each token's slice fills a tensor of the
# whole sequence: a step of T 512 took two minutes. These families are trained at a length that can be waited for.
QUADRATIC, SHORT_LENGTH = ("mamba", "jamba"), 128

FAMILIES: dict[str, Callable[[int], dict[str, Any]]] = {}
Fields = dict[str, Any]


def family(make: Callable[[int], Fields]) -> Callable[[int], Fields]:
    """Registers the fields of a family's configuration as a function of the width; its name is the model type."""
    FAMILIES[make.__name__] = make
    return make


def training_setting(name: str, setting: Setting) -> Setting:
    """The setting that a family is trained at: `setting` but for those whose peer is quadratic in the length."""
    if name not in QUADRATIC:
        return setting
    return Setting(setting.d_model, min(SHORT_LENGTH, setting.sequence_length), 1)


def config(name: str, setting: Setting) -> Any:
    """The `transformers` configuration of a family."""
    import transformers

    # A padding token's row would be zero and get no gradient.
    tokens = {"pad_token_id": None, "bos_token_id": 0, "eos_token_id": 0}
    common = {"vocab_size": VOCAB_SIZE, "hidden_size": setting.d_model, "tie_word_embeddings": True, **tokens}
    return transformers.AutoConfig.for_model(name, **{**common, **FAMILIES[name](setting.d_model)})


def peer(name: str, setting: Setting, attention: str) -> Any:
    """The peer, fp32, with weights as `transformers` draws them; `attention` is eager or sdpa."""
    import torch
    import transformers

    transformers.logging.set_verbosity_error()
    torch.manual_seed(SEED)
    return transformers.AutoModelForCausalLM.from_config(
        config(name, setting), attn_implementation=attention, dtype=torch.float32
    )


def _attention(d_model: int) -> Fields:
    """Grouped queries, two heads a key/value head."""
    heads = d_model // HEAD_DIM
    return {"num_hidden_layers": NUM_LAYERS, "num_attention_heads": heads, "num_key_value_heads": heads // 2}


def _dense(d_model: int) -> Fields:
    """SwiGLU of 2.75 widths."""
    return {**_attention(d_model), "intermediate_size": 11 * d_model // 4}


def _mamba2(d_model: int) -> Fields:
    """Mamba-2 heads under the names of the hybrids."""
    return {
        "mamba_n_heads": 2 * d_model // HEAD_DIM,
        "mamba_d_head": HEAD_DIM,
        "mamba_d_state": 128,
        "mamba_n_groups": 1,
        "mamba_chunk_size": CHUNK_SIZE,
    }


def _latent(d_model: int) -> Fields:
    """Multi-head latent attention with DeepSeek's proportions at half the head."""
    heads = d_model // HEAD_DIM
    return {
        **_dense(d_model),
        "num_key_value_heads": heads,
        "kv_lora_rank": d_model // 4,
        "qk_nope_head_dim": HEAD_DIM,
        "qk_rope_head_dim": HEAD_DIM // 2,
        "v_head_dim": HEAD_DIM,
    }


@family
def llama(d_model: int) -> Fields:
    return _dense(d_model)


@family
def mistral(d_model: int) -> Fields:
    return {**_dense(d_model), "sliding_window": WINDOW}


@family
def mixtral(d_model: int) -> Fields:
    experts = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 11 * d_model // 8}
    return {**_attention(d_model), **experts}


@family
def qwen3(d_model: int) -> Fields:
    return {**_dense(d_model), "head_dim": HEAD_DIM}


@family
def qwen3_moe(d_model: int) -> Fields:
    experts = {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 11 * d_model // 16}
    return {**_dense(d_model), **experts, "norm_topk_prob": True}


@family
def deepseek_v2(d_model: int) -> Fields:
    """MLA with dense channel mixers: the attention alone, as the promise has it."""
    return {**_latent(d_model), "q_lora_rank": None, "first_k_dense_replace": NUM_LAYERS}


@family
def deepseek_v3(d_model: int) -> Fields:
    experts = {"n_routed_experts": 16, "n_shared_experts": 1, "num_experts_per_tok": 4}
    widths = {"moe_intermediate_size": 11 * d_model // 16, "q_lora_rank": d_model // 2}
    groups = {"n_group": 4, "topk_group": 2, "first_k_dense_replace": 1, "num_mtp_layers": 0}
    return {**_latent(d_model), **experts, **widths, **groups}


@family
def mamba2(d_model: int) -> Fields:
    heads = {"num_heads": 2 * d_model // HEAD_DIM, "head_dim": HEAD_DIM, "state_size": 128, "n_groups": 1}
    return {"num_hidden_layers": NUM_LAYERS, "chunk_size": CHUNK_SIZE, **heads}


@family
def mamba(d_model: int) -> Fields:
    return {"num_hidden_layers": NUM_LAYERS, "state_size": 16}


@family
def jamba(d_model: int) -> Fields:
    """One attention layer of four, experts in every second layer."""
    layers = {"attn_layer_period": 4, "attn_layer_offset": 2, "expert_layer_period": 2, "expert_layer_offset": 1}
    return {**_dense(d_model), **layers, "num_experts": 4, "num_experts_per_tok": 2}


@family
def bamba(d_model: int) -> Fields:
    return {**_dense(d_model), **_mamba2(d_model), "attn_layer_indices": [2]}


@family
def falcon_h1(d_model: int) -> Fields:
    """A state space of 1.5 widths beside attention in every layer, without its norm; factors as the 0.5B has them."""
    inner = 3 * d_model // 2
    branches = {"attention_out_multiplier": 0.9375, "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.2357}
    projected = {"key_multiplier": 0.390625, "ssm_multipliers": [0.3536, 0.25, 0.3536, 0.5, 0.3536]}
    ends = {"embedding_multiplier": 5.65685, "lm_head_multiplier": 0.0390625, "mlp_multipliers": [0.8839, 0.5859]}
    widths = {"mamba_d_ssm": inner, "mamba_n_heads": inner // HEAD_DIM}
    return {**_dense(d_model), **_mamba2(d_model), **widths, **branches, **projected, **ends}


@family
def granitemoehybrid(d_model: int) -> Fields:
    layers = ["linear_attention", "linear_attention", "full_attention", "linear_attention"]
    experts = {"num_local_experts": 8, "num_experts_per_tok": 2, "intermediate_size": 11 * d_model // 16}
    factors = {"embedding_multiplier": 12.0, "residual_multiplier": 0.22, "logits_scaling": 6.0}
    shared = {"shared_intermediate_size": 11 * d_model // 8, "attention_multiplier": 1 / HEAD_DIM}
    return {**_attention(d_model), **_mamba2(d_model), **experts, **factors, **shared, "layer_types": layers}


@family
def qwen3_next(d_model: int) -> Fields:
    """Keys as wide as the model, values twice as wide; three layers of Gated DeltaNet, then attention."""
    experts = {"num_experts": 16, "num_experts_per_tok": 4, "norm_topk_prob": True}
    widths = {"moe_intermediate_size": 11 * d_model // 16, "shared_expert_intermediate_size": 11 * d_model // 16}
    heads = {"linear_num_key_heads": d_model // HEAD_DIM, "linear_num_value_heads": 2 * d_model // HEAD_DIM}
    rule = {**heads, "linear_key_head_dim": HEAD_DIM, "linear_value_head_dim": HEAD_DIM, "head_dim": HEAD_DIM}
    return {**_dense(d_model), **experts, **widths, **rule}


@family
def kimi_linear(d_model: int) -> Fields:
    """Three layers of Kimi Delta Attention, then latent attention; the first feed-forward is dense."""
    latent = _latent(d_model)
    experts = {"num_experts": 16, "num_experts_per_token": 4, "num_shared_experts": 1}
    rule = {"linear_num_heads": d_model // HEAD_DIM, "linear_head_dim": HEAD_DIM}
    layers = {"layer_types": 3 * ["linear_attention"] + ["full_attention"], "tie_word_embeddings": False}
    return {**latent, **experts, **rule, **layers, "moe_intermediate_size": 11 * d_model // 16}


@family
def lfm2(d_model: int) -> Fields:
    """Three gated convolutions, then attention."""
    width = {"block_auto_adjust_ff_dim": False, "conv_L_cache": 3}
    return {**_dense(d_model), **width, "layer_types": 3 * ["conv"] + ["full_attention"]}


@family
def lfm2_moe(d_model: int) -> Fields:
    """The same with experts behind the first layer."""
    experts = {"num_experts": 16, "num_experts_per_tok": 4, "moe_intermediate_size": 11 * d_model // 16}
    layers = {"layer_types": 3 * ["conv"] + ["full_attention"], "num_dense_layers": 1, "conv_L_cache": 3}
    return {**_dense(d_model), **experts, **layers}


@family
def nemotron_h(d_model: int) -> Fields:
    layers = ["linear_attention", "moe", "full_attention", "mlp"]
    scan = {"mamba_num_heads": 2 * d_model // HEAD_DIM, "mamba_head_dim": HEAD_DIM, "ssm_state_size": 128}
    experts = {"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 11 * d_model // 8}
    return {
        **_dense(d_model),
        **scan,
        **experts,
        "moe_shared_expert_intermediate_size": 11 * d_model // 8,
        "layers_block_type": layers,
        "head_dim": HEAD_DIM,
        "n_groups": 1,
        "chunk_size": CHUNK_SIZE,
    }
