"""Mistral: Llama without biases, with a sliding window in every layer or in none."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, SWA, Architecture, Block
from harmony_core.interop.hf.families.llama import Llama
from harmony_core.interop.hf.family import only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import as_attention, attention, attention_fields, window
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, as_mlp, hidden_act
from harmony_core.interop.hf.parts.rope import rope, rope_parameters


class Mistral(Llama):
    """`MistralForCausalLM`."""

    model_type = "mistral"
    model_class = "MistralForCausalLM"
    harmless: ClassVar[tuple[str, ...]] = ()

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        block = attention(fields, window=window(fields), **rope(fields))
        return [block] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        activation = fields.choice("hidden_act", GATED_ACTIVATIONS)
        block = MLP.parse({"d_ff": fields.integer("intermediate_size"), "activation": activation})
        return [block] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        mixer, channel = as_attention(only(mixers)), as_mlp(only(channels))
        return {
            **attention_fields(mixer),
            "rope_parameters": rope_parameters(mixer),
            "sliding_window": mixer.window if isinstance(mixer, SWA) else None,
            "intermediate_size": channel.d_ff,
            "hidden_act": hidden_act(channel.activation),
        }
