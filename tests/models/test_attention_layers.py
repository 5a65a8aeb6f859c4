"""Attention layers: equal to those of transformers, and the same whether read at once or token by token."""

import math

import pytest
import torch

from harmony_core.architecture import GQA, MHA, MLA, SWA
from harmony_core.models.ops.attention.rotary import pairs_from_halves
from harmony_core.models.registry import module_for

WIDTH, LENGTH, WINDOW = 48, 25, 8
LATENT = {"kv_lora_rank": 12, "qk_nope_head_dim": 10, "qk_rope_head_dim": 4, "v_head_dim": 6}
YARN = {"method": "yarn", "factor": 4.0, "original_context": 16, "beta_fast": 4.0}
LAYERS = {
    "mha": MHA(num_heads=4, head_dim=12, qk_norm=True),
    "mqa": GQA(num_heads=4, head_dim=12, num_kv_heads=1, rope_base=None, bias=True),
    "gqa": GQA(num_heads=4, head_dim=10, num_kv_heads=2, rope_fraction=0.4, bias=True, out_bias=True, scale=0.2),
    "gqa-yarn": GQA(num_heads=4, head_dim=12, num_kv_heads=2, rope_scaling=YARN, qk_norm=True),
    "odd-head": MHA(num_heads=3, head_dim=9, rope_fraction=0.5),
    "swa": SWA(num_heads=4, head_dim=12, num_kv_heads=2, window=WINDOW),
    "swa-qk-norm": SWA(num_heads=4, head_dim=12, num_kv_heads=4, window=WINDOW, qk_norm=True, bias=True),
    "mla": MLA(num_heads=4, **LATENT),
    "mla-options": MLA(
        num_heads=3, **LATENT, q_lora_rank=14, bias=True, scale=0.3, rope_scaling=YARN, latent_epsilon=0.1
    ),
}


@torch.no_grad()
def filled(module, seed=0):
    """The module with all parameters, biases and norms too, drawn."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in module.named_parameters():
        drawn = torch.randn(parameter.shape, generator=generator)
        parameter.copy_(1 + 0.3 * drawn if "norm" in name else 0.2 * drawn)
    return module


def draw_input(batch=2, length=LENGTH, seed=3):
    return torch.randn(batch, length, WIDTH, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("prompt", [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 3, LENGTH - 1])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_prefill_then_steps_is_forward(name, prompt):
    module, x = filled(module_for(LAYERS[name], WIDTH, 1e-5)), draw_input()
    state = module.init_state(2, LENGTH, x.device, x.dtype)
    read = module.prefill(x[:, :prompt], state)
    stepped = [module.step(x[:, position], state, position) for position in range(prompt, LENGTH)]
    torch.testing.assert_close(torch.cat((read, torch.stack(stepped, 1)), 1), module(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("prompt", [1, WINDOW - 1, WINDOW, WINDOW + 1, LENGTH])
@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_prefill_leaves_the_state_of_as_many_steps(name, prompt, dtype):
    module, x = filled(module_for(LAYERS[name], WIDTH, 1e-5)), draw_input()
    read, stepped = (module.init_state(2, LENGTH + 4, x.device, dtype) for _ in range(2))
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        module.prefill(x[:, :prompt], read)
        for position in range(prompt):
            module.step(x[:, position], stepped, position)
    tolerance = 1e-5 if dtype == torch.float32 else 0.05
    for key, expected in stepped.items():
        assert read[key].dtype == dtype
        torch.testing.assert_close(read[key], expected, rtol=tolerance, atol=tolerance)
        assert read[key].abs().sum() > 0


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_a_step_leaves_its_input_alone(name):
    module, x = filled(module_for(LAYERS[name], WIDTH, 1e-5)), draw_input()
    state, given = module.init_state(2, LENGTH, x.device, x.dtype), x.clone()
    module.prefill(x[:, :3], state)
    module.step(x[:, 3], state, 3)
    assert torch.equal(x, given)


def test_a_window_layer_forgets():
    module, x = filled(module_for(LAYERS["swa"], WIDTH, 1e-5)), draw_input()
    changed = x.clone()
    changed[:, 5] += 1
    with torch.no_grad():
        difference = (module(x) - module(changed)).abs().amax(dim=(0, 2))
    assert (difference[5 : 5 + WINDOW] > 1e-4).all()
    assert difference[:5].amax() == difference[5 + WINDOW :].amax() == 0


@pytest.mark.parametrize("name", ["gqa", "swa", "mla-options"])
def test_declared_biases_exist_and_others_are_none(name):
    module = module_for(LAYERS[name], WIDTH, 1e-5)
    names = {key for key, _ in module.named_parameters() if key.endswith("bias")}
    expected = {
        "gqa": {"qkv_bias", "out_bias"},
        "swa": set(),
        "mla-options": {"q_down_bias", "kv_down_bias", "out_bias"},
    }[name]
    assert names == expected
    assert module.out_bias is None or name != "swa"


def paired(w, head_dim, turning=None):
    """Rows of heads whose first elements turn, from transformers' pairs (i, i + half) to neighbours."""
    heads = w.unflatten(0, (-1, head_dim)).clone()
    turned = heads[:, : turning or head_dim]
    turned.copy_(pairs_from_halves(turned.flatten(0, 1), turned.shape[1]).view_as(turned))
    return heads.flatten(0, 1)


@torch.no_grad()
def from_attention(layer, config, epsilon):
    """Our module with the weights of a transformers layer that has q_proj, k_proj, v_proj and o_proj."""
    module = module_for(config, WIDTH, epsilon)
    turning = int(config.head_dim * config.rope_fraction)
    projections = {"weight": "qkv", "bias": "qkv_bias"}
    for theirs, ours in projections.items():
        q, k, v = (getattr(getattr(layer, f"{name}_proj"), theirs) for name in "qkv")
        if q is not None:
            joined = torch.cat((paired(q, config.head_dim, turning), paired(k, config.head_dim, turning), v))
            getattr(module, ours).copy_(joined)
    module.out.copy_(layer.o_proj.weight)
    if layer.o_proj.bias is not None:
        module.out_bias.copy_(layer.o_proj.bias)
    for name in ("q_norm", "k_norm"):
        if hasattr(layer, name):
            getattr(module, name).weight.copy_(paired(getattr(layer, name).weight, config.head_dim))
    return module


@torch.no_grad()
def from_mla(layer, config, epsilon):
    """Our module with the weights of a DeepSeek layer, whose rotary pairs are neighbours already."""
    module = module_for(config, WIDTH, epsilon)
    pairs = {"kv_down": "kv_a_proj_with_mqa", "kv_up": "kv_b_proj", "out": "o_proj", "kv_norm": "kv_a_layernorm"}
    pairs |= {"q_up": "q_proj"} if layer.q_proj is not None else {}
    pairs |= {"q_down": "q_a_proj", "q_norm": "q_a_layernorm", "q_up": "q_b_proj"} if layer.q_proj is None else {}
    for ours, theirs in pairs.items():
        target, source = getattr(module, ours), getattr(layer, theirs)
        (target.weight if ours.endswith("norm") else target).copy_(source.weight)
        if getattr(source, "bias", None) is not None:
            getattr(module, f"{ours}_bias").copy_(source.bias)
    return module


HEADS = {"num_heads": 4, "head_dim": 16, "num_kv_heads": 2}
LLAMA3 = {"method": "llama3", "factor": 8.0, "original_context": 16}
THEIR_YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 4.0}
THEIR_LLAMA3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "original_max_position_embeddings": 16,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
}
PLAIN = {"rope_type": "default"}
DEEPSEEK = {**LATENT, "head_dim": LATENT["qk_rope_head_dim"]}
# Name: (family, what their configuration has beside the heads, our configuration).
PARITY = {
    "llama-bias": ("llama", {"attention_bias": True}, GQA(**HEADS, bias=True, out_bias=True)),
    "llama3": ("llama", {"rope_parameters": THEIR_LLAMA3}, GQA(**HEADS, rope_scaling=LLAMA3)),
    "llama-yarn": ("llama", {"rope_parameters": THEIR_YARN}, GQA(**HEADS, rope_scaling=YARN)),
    "mistral-window": ("mistral", {"sliding_window": 7}, SWA(**HEADS, window=7)),
    "qwen3-qk-norm": ("qwen3", {"rms_norm_eps": 0.02}, GQA(**HEADS, qk_norm=True)),
    "bamba-partial": (
        "bamba",
        {"attention_bias": True, "mamba_n_heads": 4},
        GQA(**HEADS, rope_fraction=0.5, bias=True, out_bias=True),
    ),
    "granite-scale": ("granite", {"attention_multiplier": 0.1}, GQA(**HEADS, scale=0.1)),
    "deepseek-v2": ("deepseek_v2", {**DEEPSEEK, "q_lora_rank": None}, MLA(num_heads=4, **LATENT, latent_epsilon=1e-6)),
    "deepseek-v2-bias": (
        "deepseek_v2",
        {**DEEPSEEK, "q_lora_rank": 14, "attention_bias": True},
        MLA(num_heads=4, **LATENT, q_lora_rank=14, bias=True, latent_epsilon=1e-6),
    ),
    "deepseek-v3-scale": (
        "deepseek_v3",
        {**DEEPSEEK, "q_lora_rank": 14, "rope_parameters": {**THEIR_YARN, "mscale": 0.7, "mscale_all_dim": 0.7}},
        MLA(
            num_heads=4,
            **LATENT,
            q_lora_rank=14,
            rope_scaling={**YARN, "attention_factor": 1.0},
            scale=(1 + 0.07 * math.log(4)) ** 2 / math.sqrt(14),
            latent_epsilon=1e-6,
        ),
    ),
    "deepseek-v3-yarn": (
        "deepseek_v3",
        {**DEEPSEEK, "q_lora_rank": 14, "rope_parameters": THEIR_YARN, "rope_interleave": True},
        MLA(num_heads=4, **LATENT, q_lora_rank=14, rope_scaling=YARN, latent_epsilon=1e-6),
    ),
}


def their_layer(family, options):
    """An eager attention layer of transformers, all its weights drawn, as a function of [B, T, D]."""
    transformers = pytest.importorskip("transformers")
    config_class = transformers.models.auto.configuration_auto.CONFIG_MAPPING[family]
    modeling = transformers.AutoModelForCausalLM._model_mapping[config_class].__module__
    modeling = __import__(modeling, fromlist=["x"])
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4 if "deepseek" in family else 2, "head_dim": 16}
    config = config_class(hidden_size=WIDTH, **{**heads, **options})
    config._attn_implementation = "eager"
    names = {"deepseek_v2": "DeepseekV2", "deepseek_v3": "DeepseekV3"}
    prefix = names.get(family, family.capitalize())
    layer = filled(getattr(modeling, f"{prefix}Attention")(config, layer_idx=0), seed=5)
    rotary = getattr(modeling, f"{prefix}RotaryEmbedding")(config)
    window = options.get("sliding_window") or LENGTH
    position = torch.arange(LENGTH)
    distance = position[:, None] - position
    mask = torch.zeros(LENGTH, LENGTH).masked_fill_((distance < 0) | (distance >= window), float("-inf"))

    def run(x_BTD):
        return layer(x_BTD, position_embeddings=rotary(x_BTD, position[None]), attention_mask=mask[None, None])[0]

    return layer, run


@pytest.mark.parametrize("name", PARITY)
def test_layers_are_those_of_transformers(name):
    family, options, config = PARITY[name]
    layer, run = their_layer(family, options)
    convert = from_mla if isinstance(config, MLA) else from_attention
    # Their latents' norms have an epsilon of their own, whatever the model's is.
    module = convert(layer, config, options.get("rms_norm_eps", 0.5))
    results = []
    for function in (module, run):
        x = draw_input().requires_grad_()
        y = function(x)
        results.append((y, torch.autograd.grad(y.square().sum(), x)[0]))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-4, atol=1e-3)
    assert results[1][0].std() > 0.05
