"""Falcon-H1: attention and Mamba-2 side by side in every layer, SwiGLU, and a dozen multipliers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import GQA, MLP, Architecture, Block, Mamba2, Parallel
from harmony_core.architecture.parallel import MULTIPLIERS
from harmony_core.interop.hf.family import DoesNotFit, Layered, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import attention_fields, attention_weights, grouped_attention
from harmony_core.interop.hf.parts.mamba2 import (
    HYBRID_NAMES,
    check_heads,
    dt_limit,
    mamba2,
    mamba2_fields,
    mamba2_weights,
    time_step_limit,
)
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp, mlp_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight

# The inner width is a field of its own.
_STATE_SPACE = {ours: theirs for ours, theirs in HYBRID_NAMES.items() if ours != "expand"}


class FalconH1(Layered):
    """`FalconH1ForCausalLM`.

    The keys' multiplier is a factor of the scores, since keys turn and are multiplied and nothing else.
    """

    model_type = "falcon_h1"
    model_class = "FalconH1ForCausalLM"
    # What generation asks for, and two fields of published files that no class reads.
    harmless: ClassVar[tuple[str, ...]] = ("num_logits_to_keep", "attn_layer_indices", "mamba_use_mlp")
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    norms = ("input_layernorm", "pre_ff_layernorm")
    final_norm = "model.final_layernorm.weight"

    @override
    def head(self, fields: Fields) -> dict[str, Any]:
        multiplier = fields.number("lm_head_multiplier", default=1.0)
        if multiplier <= 0:
            raise fields.error("lm_head_multiplier", "use a positive number")
        return {
            **super().head(fields),
            "embedding_multiplier": fields.number("embedding_multiplier", default=1.0),
            "logits_divisor": 1 / multiplier,
        }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        factors: dict[str, Any] = {name: fields.number(name, default=1.0) for name in MULTIPLIERS}
        block = Parallel(attention=_attention(fields), ssm=_state_space(fields), **factors)
        check_heads(fields, "mamba_n_heads", block.ssm)
        return [block] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        gate, out = _numbers(fields, "mlp_multipliers", 2)
        # One field names the activation of the network and of Mamba's convolution.
        values = {"d_ff": fields.integer("intermediate_size"), "activation": fields.choice("hidden_act", ONLY_SILU)}
        values |= {"bias": fields.flag("mlp_bias"), "gate_multiplier": gate, "out_multiplier": out}
        return [MLP.parse(values, self.model_type)] * fields.integer("num_hidden_layers")

    @override
    def fields_of(self, architecture: Architecture) -> dict[str, Any]:
        return {
            **super().fields_of(architecture),
            "embedding_multiplier": architecture.embedding_multiplier,
            "lm_head_multiplier": 1 / architecture.logits_divisor,
        }

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        mixer, channel = only(mixers), as_mlp(only(channels))
        if not isinstance(mixer, Parallel):
            raise DoesNotFit
        scale, width = mixer.attention.scale, mixer.attention.head_dim
        return {
            **attention_fields(mixer.attention),
            "attention_bias": mixer.attention.bias,
            "rope_parameters": rope_parameters(mixer.attention),
            "key_multiplier": 1.0 if scale is None else scale * math.sqrt(width),
            **_state_space_fields(mixer.ssm, architecture.d_model),
            **{name: getattr(mixer, name) for name in MULTIPLIERS},
            "intermediate_size": channel.d_ff,
            "mlp_bias": channel.bias,
            "mlp_multipliers": [channel.gate_multiplier, channel.out_multiplier],
        }

    @override
    def layer_weights(self, block: Block, ours: str, layer: str) -> Iterable[Weight]:
        if isinstance(block, Parallel):
            return _mixer_weights(block, ours, layer)
        assert isinstance(block, MLP)
        return mlp_weights(block, ours, f"{layer}.feed_forward")


def _attention(fields: Fields) -> GQA:
    bias, multiplier = fields.flag("attention_bias"), fields.number("key_multiplier", default=1.0)
    heads = grouped_attention(fields, bias=bias, out_bias=bias, **rope(fields))
    if multiplier <= 0:
        raise fields.error("key_multiplier", "use a positive number")
    return heads if multiplier == 1 else heads.model_copy(update={"scale": multiplier / math.sqrt(heads.head_dim)})


def _state_space(fields: Fields) -> Mamba2:
    bias, width = fields.flag("mamba_proj_bias"), fields.integer("hidden_size")
    fields.require("projectors_bias", (bias,) if bias else (False, None), f"use that of mamba_proj_bias, {bias}")
    # Read by the norm alone, if there is one.
    norm_first = fields.flag("mamba_norm_before_gate")
    norm = ("norm_first" if norm_first else "gate_first") if fields.flag("mamba_rms_norm") else "none"
    return mamba2(
        fields,
        _STATE_SPACE,
        inner_width=fields.integer("mamba_d_ssm", default=fields.integer("mamba_expand") * width),
        dt_limit=dt_limit(fields),
        norm=norm,
        multipliers=_numbers(fields, "ssm_multipliers", 5),
    )


def _state_space_fields(block: Mamba2, d_model: int) -> dict[str, Any]:
    return {
        **mamba2_fields(block, _STATE_SPACE),
        "projectors_bias": block.bias,
        "mamba_d_ssm": block.d_inner(d_model),
        "mamba_n_heads": block.num_heads(d_model),
        "mamba_rms_norm": block.norm != "none",
        "mamba_norm_before_gate": block.norm == "norm_first",
        "time_step_limit": time_step_limit(block),
        "ssm_multipliers": list(block.multipliers),
    }


def _mixer_weights(block: Parallel, ours: str, layer: str) -> Iterator[Weight]:
    yield from attention_weights(block.attention, f"{ours}.attention", f"{layer}.self_attn")
    yield from mamba2_weights(block.ssm, f"{ours}.ssm", f"{layer}.mamba")


def _numbers(fields: Fields, name: str, count: int) -> tuple[float, ...]:
    values = fields.get(name)
    numbers = isinstance(values, list | tuple) and all(
        isinstance(one, int | float) and not isinstance(one, bool) and 0 < one < math.inf for one in values
    )
    if not numbers or len(values) != count:
        raise fields.error(name, f"use {count} positive numbers")
    return tuple(float(one) for one in values)
