"""Every field of a configuration is used, harmless, or refused by name."""

from __future__ import annotations

import copy
import inspect
import logging
import random
import re
import sys
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GPT2Config, PreTrainedConfig

from harmony_core.errors import UserError
from harmony_core.interop.hf import architecture_from_config
from harmony_core.interop.hf.families import FAMILIES
from harmony_core.interop.hf.fields import BESIDE, COMMON, COMMON_FIXED, Fields
from harmony_core.interop.hf.library import declared_fields
from tests.interop.random_configs import DRAWS
from tests.interop.random_models import SEEDS, filled, random_config, random_tokens

# What only names things, or is no value that a model could be built with in another way.
NAMES = {
    "quantization_config",
    "model_type",
    "architectures",
    "auto_map",
    "transformers_version",
    "_name_or_path",
    "dtype",
    "id2label",
    "label2id",
    "problem_type",
    "return_dict",
    "output_attentions",
    "output_hidden_states",
}


def changed(value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, dict):
        if "rope_theta" not in value:
            return {name: changed(one) for name, one in value.items()}
        return {**value, "rope_theta": 2 * value["rope_theta"]}
    if isinstance(value, list | tuple):
        return [*value[:-1]] if value else [0]
    if isinstance(value, str):
        return "no such word"
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return 3 if value is None else 2 * value + 1


def used(family: str, config: PreTrainedConfig, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Names that the family read of a configuration, those of `fixed` ones left out."""
    seen: list[Fields] = []
    finish = Fields.finish
    with monkeypatch.context() as patch:
        patch.setattr(Fields, "finish", lambda self, *rest, **more: (seen.append(self), finish(self, *rest, **more)))
        architecture_from_config(config)
    fields = next(one for one in seen if one.where == family)
    return fields.seen - FAMILIES[family].fixed.keys() - COMMON_FIXED.keys()


def lists(family: str) -> set[str]:
    found = FAMILIES[family]
    return {*COMMON, *COMMON_FIXED, *BESIDE, *found.harmless, *found.training_only, *found.fixed}


@pytest.mark.parametrize("family", DRAWS)
def test_every_field_is_used_or_known(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in SEEDS:
        config = random_config(family, seed)
        read = used(family, config, monkeypatch)
        assert config.to_dict().keys() <= read | lists(family)
        # One that is read is not called harmless; YaRN alone reads the context.
        assert not read & lists(family) - {"max_position_embeddings"}


@pytest.mark.parametrize("family", DRAWS)
def test_a_used_field_changes_the_architecture_or_is_refused(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one of several configurations at least: a field of experts says nothing where there are none."""
    configs = [random_config(family, seed) for seed in range(12)]
    silent = set.union(*(used(family, config, monkeypatch) for config in configs)) - {"max_position_embeddings"}
    for values in (config.to_dict() for config in configs):
        before = FAMILIES[family].architecture(values)
        for name in sorted(silent & values.keys()):
            other = {**values, name: changed(values[name])}
            try:
                same = FAMILIES[family].architecture(other) == before
            except UserError:
                same = False
            # How rotary elements are laid out is a matter of the weights.
            same = same and FAMILIES[family].variant(other) == FAMILIES[family].variant(values)
            if not same:
                silent.remove(name)
    assert silent & {name for config in configs for name in config.to_dict()} == set()


@pytest.mark.parametrize("family", DRAWS)
@torch.no_grad()
def test_a_harmless_field_leaves_the_logits_alone(family: str) -> None:
    """Whatever is called harmless, or of training alone, `transformers` computes the same with another value of it."""
    configs = (random_config(family, seed) for seed in SEEDS)
    config = next(one for one in configs if "yarn" not in str(one.to_dict().get("rope_parameters")))
    model, tokens_BT = filled(config), random_tokens(2, 11)
    expected = model(tokens_BT, use_cache=False).logits
    for name in sorted(lists(family) - NAMES - COMMON_FIXED.keys() - FAMILIES[family].fixed.keys()):
        other = copy.deepcopy(model.config)
        value = 0.5 if name in FAMILIES[family].training_only else changed(config.to_dict().get(name))
        setattr(other, name, value)
        again = AutoModelForCausalLM.from_config(other).eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(tokens_BT, use_cache=False).logits, expected), name


@pytest.mark.parametrize("family", DRAWS)
def test_a_field_that_the_class_has_not_is_left_out_with_a_warning(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    expected = architecture_from_config(AutoConfig.for_model(family, **random_draw(family)))
    with caplog.at_level(logging.WARNING):
        found = architecture_from_config(AutoConfig.for_model(family, **random_draw(family), attention_chunks=4))
    assert found == expected
    assert f"{family}: its class has no such fields, left out: attention_chunks" in caplog.text


@pytest.mark.parametrize("family", DRAWS)
def test_a_field_that_the_class_has_and_nothing_reads_is_refused(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of a later version of the class would be: its model may read it."""
    now = declared_fields(family)
    assert now is not None
    monkeypatch.setattr("harmony_core.interop.hf.family.declared_fields", lambda _: now | {"attention_chunks"})
    config = AutoConfig.for_model(family, **random_draw(family), attention_chunks=4)
    with pytest.raises(UserError, match=rf"{family}.attention_chunks: 4: unknown field"):
        architecture_from_config(config)


@pytest.mark.parametrize("family", DRAWS)
def test_a_model_reads_no_field_that_its_class_has_not(family: str) -> None:
    """On which leaving them out rests: what the code asks for by name, in case it is there, is known or fixed."""
    module = sys.modules[type(filled(random_config(family, 0))).__module__]
    asked = set(re.findall(r'getattr\((?:self\.)?config, "(\w+)"', inspect.getsource(module)))
    declared = declared_fields(family)
    assert declared is not None
    found = FAMILIES[family]
    # Attributes of every configuration that are no fields of it, and what the family reads though no class declares it.
    known = {"_attn_implementation", "num_labels", "head_dim", "rope_parameters", "layer_types"}
    assert asked <= declared | known | lists(family)
    assert found.model_class in vars(module)


@pytest.mark.parametrize("family", DRAWS)
def test_what_changes_no_architecture_is_taken(family: str) -> None:
    expected = architecture_from_config(AutoConfig.for_model(family, **random_draw(family)))
    beside = {"quantization_config": {"quant_method": "fp8"}, "num_nextn_predict_layers": 2, "use_mtp": True}
    assert architecture_from_config(AutoConfig.for_model(family, **random_draw(family), **beside)) == expected


def random_draw(family: str) -> dict[str, Any]:
    return DRAWS[family](random.Random(0))


REFUSED = [
    (
        "llama",
        {"hidden_act": "relu"},
        r"llama.hidden_act: relu: not supported here; use one of silu, swish, gelu, linear",
    ),
    (
        "llama",
        {"rope_parameters": {"rope_type": "proportional", "rope_theta": 1e4}},
        "rope_parameters.rope_type: proportional: not supported here; use one of default, linear, dynamic, longrope",
    ),
    (
        "llama",
        {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        r"partial_rotary_factor: 0.5: llama turns whole heads; use 1.0",
    ),
    ("llama", {"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 0.5}}, "use at least 1"),
    ("llama", {"num_attention_heads": 4, "num_key_value_heads": 3}, "num_key_value_heads 3 does not divide"),
    ("mistral", {"sliding_window": 0}, r"mistral.sliding_window: 0: use a whole number from 1"),
    ("mistral", {"layer_types": ["full_attention"] * 32}, "mistral.layer_types"),
    ("mixtral", {"num_experts_per_tok": 9}, r"num_experts_per_tok 9 is above the number of experts 8; use at most 8"),
    ("qwen3", {"layer_types": ["chunked_attention"] * 32}, "full_attention and sliding_attention"),
    ("qwen3", {"layer_types": ["sliding_attention"] * 32}, "qwen3.sliding_window: None"),
    ("deepseek_v2", {"num_experts_per_tok": 2, "topk_method": "noaux_tc"}, "one of greedy, group_limited_greedy"),
    ("deepseek_v2", {}, r"deepseek_v2.num_experts_per_tok: None: use a whole number from 1"),
    ("deepseek_v2", {"num_experts_per_tok": 2, "moe_layer_freq": 2}, "deepseek_v2.moe_layer_freq: 2: .* use 1"),
    ("deepseek_v2", {"num_experts_per_tok": 2, "num_key_value_heads": 4}, "num_key_value_heads: 4: .* use 32"),
    ("deepseek_v3", {"n_group": None}, "deepseek_v3.n_group: None"),
    ("deepseek_v3", {"scoring_func": "softmax"}, "scoring_func: softmax: .* use sigmoid"),
    ("mamba2", {"hidden_act": "gelu"}, "mamba2.hidden_act: gelu"),
    ("mamba2", {"time_step_limit": (0.5, 0.1)}, "dt_limit"),
    ("mamba", {"intermediate_size": 64}, "mamba.intermediate_size: 64: use expand x hidden_size, 1536"),
    ("mamba", {"rms_norm": False}, "mamba.rms_norm: False: .* use True"),
    ("jamba", {"hidden_act": "gelu"}, "jamba.hidden_act"),
    ("jamba", {"sliding_window": 4}, "jamba.sliding_window: 4"),
    ("bamba", {"z_loss_coefficient": 0.1}, "bamba.z_loss_coefficient: 0.1: .* use 0.0"),
    ("granitemoehybrid", {"normalization_function": "layernorm"}, "use rmsnorm"),
    ("granitemoehybrid", {"residual_multiplier": 0.0}, "residual_multiplier is 0.0; use a positive number"),
    ("nemotron_h", {"moe_latent_size": 0}, "nemotron_h.moe_latent_size: 0: use a whole number from 1"),
    ("nemotron_h", {"sliding_window": 16}, "nemotron_h.sliding_window: 16: .* use None"),
    ("nemotron_h", {"mlp_hidden_act": "silu"}, "use one of relu2, gelu"),
    ("qwen3_next", {"hidden_act": "gelu"}, "qwen3_next.hidden_act: gelu: .* use one of silu, swish"),
    ("qwen3_next", {"linear_num_value_heads": 24}, "does not divide"),
    ("qwen3_next", {"layer_types": ["sliding_attention"] * 48}, "use 48 of full_attention and linear_attention"),
    ("gpt_oss", {"swiglu_limit": 5.0}, "gpt_oss.swiglu_limit: 5.0: .* use 7 or 7.0"),
    ("gpt_oss", {"swiglu_alpha": 1.0}, "gpt_oss.swiglu_alpha: 1.0: .* use 1.702"),
    ("gpt_oss", {"sliding_window": None}, "gpt_oss.sliding_window: None"),
    ("lfm2", {"layer_types": ["sliding_attention"] * 32}, "lfm2.layer_types.*use 32 of conv and full_attention"),
    ("lfm2", {"conv_L_cache": 0}, "lfm2.conv_L_cache: 0: use a whole number from 1"),
    ("falcon_h1", {"ssm_multipliers": [1.0] * 4}, "falcon_h1.ssm_multipliers.*use 5 positive numbers"),
    ("falcon_h1", {"mlp_multipliers": [1.0, 0.0]}, "falcon_h1.mlp_multipliers.*use 2 positive numbers"),
    ("falcon_h1", {"key_multiplier": -1.0}, "falcon_h1.key_multiplier: -1.0: use a positive number"),
    ("falcon_h1", {"lm_head_multiplier": 0.0}, "falcon_h1.lm_head_multiplier: 0.0: use a positive number"),
    ("falcon_h1", {"ssm_out_multiplier": 0.0}, "ssm_out_multiplier is 0.0; use a positive number"),
    ("falcon_h1", {"projectors_bias": True}, "falcon_h1.projectors_bias: True: use that of mamba_proj_bias, False"),
    ("falcon_h1", {"hidden_act": "gelu"}, "falcon_h1.hidden_act: gelu: .* use one of silu, swish"),
    ("lfm2_moe", {}, "lfm2_moe.layer_types: None: use 32 of conv and full_attention"),
    ("kimi_linear", {"mla_use_nope": False}, "kimi_linear.mla_use_nope: False: .* use True"),
    ("kimi_linear", {"moe_router_activation_func": "softmax"}, "softmax: .* use sigmoid"),
    ("kimi_linear", {"num_key_value_heads": 4}, "num_key_value_heads: 4: .* use 32"),
    ("olmo_hybrid", {"hidden_act": "gelu"}, "olmo_hybrid.hidden_act: gelu: .* use one of silu, swish"),
    ("qwen3_5_text", {"attn_output_gate": False}, "qwen3_5_text.attn_output_gate: False: .* use True"),
    ("minimax_m2", {"scoring_func": "softmax"}, "minimax_m2.scoring_func: softmax: .* use sigmoid"),
    ("minimax_m2", {"qk_norm_type": "per_head"}, "minimax_m2.qk_norm_type: per_head: .* use per_layer"),
    ("minimax_m2", {"sliding_window": 16}, "minimax_m2.sliding_window: 16: unknown field"),
    ("gemma3_text", {"final_logit_softcapping": 30.0}, "final_logit_softcapping: 30.0: .* use None"),
    ("gemma3_text", {"use_bidirectional_attention": True}, "use_bidirectional_attention: True: .* use False or None"),
    ("gemma3_text", {"sliding_window": None}, "gemma3_text.sliding_window: None: layer_types has sliding_attention"),
    ("lfm3", {"attention_bias": True}, "lfm3.attention_bias: True: a gate has no bias there"),
    ("lfm3", {"layer_types": ["chunked_attention"] * 24}, "use 24 of conv, sliding_attention and full_attention"),
    ("mimo_v2_flash", {"n_shared_experts": 1}, "mimo_v2_flash.n_shared_experts: 1: .* use None or 0"),
    ("mimo_v2_flash", {"add_full_attention_sink_bias": True}, "add_full_attention_sink_bias: True: .* use False"),
    ("nemotron_h", {"mamba_hidden_act": "gelu"}, "nemotron_h.mamba_hidden_act: gelu: .* use silu or swish"),
]


@pytest.mark.parametrize(("family", "options", "message"), REFUSED, ids=[f"{one[0]}-{[*one[1]]}" for one in REFUSED])
def test_what_is_not_supported_is_refused_by_name(family: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        architecture_from_config(AutoConfig.for_model(family, **options))


def test_an_unknown_family_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"model_type: gpt2: unknown family; use one of llama, mistral, .*nemotron_h"):
        architecture_from_config(GPT2Config())


@pytest.mark.parametrize("wrong", [{"model_type": "llama"}, "llama", None])
def test_what_is_no_configuration_is_refused(wrong: Any) -> None:
    with pytest.raises(UserError, match=r"hf_config: a \w+: use a PreTrainedConfig"):
        architecture_from_config(wrong)


def test_dropout_is_left_out_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = architecture_from_config(AutoConfig.for_model("llama", attention_dropout=0.1))
    assert re.search(r"llama.attention_dropout 0.1 acts in training alone", caplog.text)
    assert found == architecture_from_config(AutoConfig.for_model("llama"))


def test_latents_keep_an_epsilon_of_their_own() -> None:
    found = architecture_from_config(AutoConfig.for_model("deepseek_v3", rms_norm_eps=1e-3))
    assert found.norm_epsilon == 1e-3
    assert found.blocks[0].model_dump()["latent_epsilon"] == 1e-6
