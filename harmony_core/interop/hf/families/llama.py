"""Llama: grouped-query attention and SwiGLU in every layer."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block
from harmony_core.interop.hf.family import Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import as_attention, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, as_mlp, hidden_act, mlp_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters


class Llama(Layered):
    """`LlamaForCausalLM`."""

    model_type = "llama"
    model_class = "LlamaForCausalLM"
    # The modeling code never reads these.
    harmless: ClassVar[tuple[str, ...]] = ("pretraining_tp",)
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MLP: ("mlp", mlp_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        bias = fields.flag("attention_bias")
        block = attention(fields, bias=bias, out_bias=bias, **rope(fields))
        return [block] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        activation = fields.choice("hidden_act", GATED_ACTIVATIONS)
        block = MLP.parse(
            {"d_ff": fields.integer("intermediate_size"), "activation": activation, "bias": fields.flag("mlp_bias")}
        )
        return [block] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        mixer, channel = as_attention(only(mixers)), as_mlp(only(channels))
        return {
            **attention_fields(mixer),
            "attention_bias": mixer.bias,
            "rope_parameters": rope_parameters(mixer),
            "intermediate_size": channel.d_ff,
            "hidden_act": hidden_act(channel.activation),
            "mlp_bias": channel.bias,
        }
