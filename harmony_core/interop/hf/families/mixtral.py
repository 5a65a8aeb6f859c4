"""Mixtral: Mistral's attention and a mixture of experts in every layer."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import SWA, Architecture, Attention, Block, MoE
from harmony_core.interop.hf.family import Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import (
    as_attention,
    attention,
    attention_fields,
    attention_weights,
    window,
)
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, hidden_act
from harmony_core.interop.hf.parts.moe import (
    as_moe,
    balancing,
    balancing_fields,
    mixture_weights,
)
from harmony_core.interop.hf.parts.rope import rope, rope_parameters


class Mixtral(Layered):
    """`MixtralForCausalLM`."""

    model_type = "mixtral"
    model_class = "MixtralForCausalLM"
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout", "router_jitter_noise")
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MoE: ("mlp", mixture_weights()),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        block = attention(fields, window=window(fields), **rope(fields))
        return [block] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        block = MoE.parse(
            {
                "n_routed": fields.integer("num_local_experts"),
                "top_k": fields.integer("num_experts_per_tok"),
                "d_expert": fields.integer("intermediate_size"),
                "activation": fields.choice("hidden_act", GATED_ACTIVATIONS),
                **balancing(fields),
            },
            self.model_type,
        )
        return [block] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        mixer, channel = as_attention(only(mixers)), as_moe(only(channels))
        return {
            **attention_fields(mixer),
            "rope_parameters": rope_parameters(mixer),
            "sliding_window": mixer.window if isinstance(mixer, SWA) else None,
            "num_local_experts": channel.n_routed,
            "num_experts_per_tok": channel.top_k,
            "intermediate_size": channel.d_expert,
            "hidden_act": hidden_act(channel.activation),
            **balancing_fields(channel),
        }
