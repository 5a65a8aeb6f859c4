"""Gemma 3's language model: norms around every block, windows in most layers, positions by the layer's type."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, SWA, Architecture, Attention, Block
from harmony_core.interop.hf.family import Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import (
    as_attention,
    attention,
    attention_fields,
    attention_weights,
    window_of,
)
from harmony_core.interop.hf.parts.layer_types import FULL, SLIDING, layer_types
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, as_mlp, hidden_act, mlp_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight, centred


class Gemma3(Layered):
    """`Gemma3ForCausalLM`."""

    model_type = "gemma3_text"
    model_class = "Gemma3ForCausalLM"
    # What layer_types are made of.
    harmless: ClassVar[tuple[str, ...]] = ("_sliding_window_pattern", "sliding_window_pattern")
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "final_logit_softcapping": (None,),
        "attn_logit_softcapping": (None,),
        "use_bidirectional_attention": (False, None),
    }
    norms = ("input_layernorm", "pre_feedforward_layernorm")
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MLP: ("mlp", mlp_weights),
    }

    @override
    def head(self, fields: Fields) -> dict[str, Any]:
        return {**super().head(fields), "embedding_multiplier": fields.integer("hidden_size") ** 0.5}

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        bias, scale = fields.flag("attention_bias"), fields.integer("query_pre_attn_scalar") ** -0.5
        options = {"bias": bias, "out_bias": bias, "scale": scale, "qk_norm": True, "norm_position": "both"}
        types = layer_types(fields, "layer_types", FULL, SLIDING)
        windows = {FULL: None, SLIDING: window_of(fields, types)}
        kinds = {
            kind: attention(fields, window=windows[kind], **options, **rope(fields, layer_type=kind))
            for kind in dict.fromkeys(types)
        }
        return [kinds[kind] for kind in types]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        activation = fields.choice("hidden_activation", GATED_ACTIVATIONS)
        values = {"d_ff": fields.integer("intermediate_size"), "activation": activation, "norm_position": "both"}
        return [MLP.parse(values)] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        heads, channel = [as_attention(block) for block in mixers], as_mlp(only(channels))
        windows = [block.window for block in mixers if isinstance(block, SWA)]
        types = [SLIDING if isinstance(block, SWA) else FULL for block in mixers]
        positions = {kind: rope_parameters(block) for kind, block in zip(types, heads, strict=True)}
        first = heads[0]
        scale = first.scale if first.scale is not None else 1 / math.sqrt(first.head_dim)
        return {
            **attention_fields(first),
            "attention_bias": first.bias,
            "query_pre_attn_scalar": round(scale**-2),
            "layer_types": types,
            # The class wants one where no layer has it too.
            "sliding_window": only(windows) if windows else 1,
            "rope_parameters": positions,
            "intermediate_size": channel.d_ff,
            "hidden_activation": hidden_act(channel.activation),
        }

    @override
    def weights(self, architecture: Architecture) -> Iterator[Weight]:
        # Norms' weights are stored as their difference from one.
        for weight in super().weights(architecture):
            yield centred(weight, ("norm.weight",))
