"""Qwen3: QK norm, and a sliding window in the layers that `layer_types` names."""

from __future__ import annotations

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


class Qwen3(Layered):
    """`Qwen3ForCausalLM`."""

    model_type = "qwen3"
    model_class = "Qwen3ForCausalLM"
    # The configuration turns max_window_layers into layer_types, and use_sliding_window into sliding_window.
    harmless: ClassVar[tuple[str, ...]] = ("max_window_layers", "use_sliding_window")
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MLP: ("mlp", mlp_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        options = qk_normed(fields)
        types = layer_types(fields, "layer_types", FULL, SLIDING)
        seen = window_of(fields, types)
        kinds = {FULL: attention(fields, **options)}
        if SLIDING in types:
            kinds[SLIDING] = attention(fields, window=seen, **options)
        return [kinds[kind] for kind in types]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        activation = fields.choice("hidden_act", GATED_ACTIVATIONS)
        block = MLP.parse({"d_ff": fields.integer("intermediate_size"), "activation": activation})
        return [block] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        channel = as_mlp(only(channels))
        windows = [block.window for block in mixers if isinstance(block, SWA)]
        return {
            **qk_normed_fields(mixers),
            "layer_types": [SLIDING if isinstance(block, SWA) else FULL for block in mixers],
            "use_sliding_window": bool(windows),
            "sliding_window": only(windows) if windows else None,
            "intermediate_size": channel.d_ff,
            "hidden_act": hidden_act(channel.activation),
        }


def qk_normed(fields: Fields) -> dict[str, Any]:
    """Options of Qwen3's attention."""
    bias = fields.flag("attention_bias")
    return {"qk_norm": True, "bias": bias, "out_bias": bias, **rope(fields)}


def qk_normed_fields(mixers: list[Block]) -> dict[str, Any]:
    """The other way round, for layers that may differ in their window."""
    attentions = [as_attention(block) for block in mixers]
    found = only(repr((attention_fields(block), block.bias, rope_parameters(block))) for block in attentions)
    assert found
    first = attentions[0]
    return {
        **attention_fields(first),
        "attention_bias": first.bias,
        "rope_parameters": rope_parameters(first),
    }
