"""LFM3: LFM2 with windows, a gate a head of attention, and norms behind its blocks too."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, SWA, Architecture, Attention, Block, ShortConv
from harmony_core.interop.hf.families.lfm2 import CONV, Lfm2, swiglu_width
from harmony_core.interop.hf.family import DoesNotFit, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import (
    as_attention,
    attention,
    attention_fields,
    attention_weights,
    head_dim,
    window_of,
)
from harmony_core.interop.hf.parts.layer_types import FULL, SLIDING, layer_types
from harmony_core.interop.hf.parts.rope import proportional_parameters, proportional_rope
from harmony_core.interop.hf.parts.short_conv import short_conv, short_conv_fields

_TYPES = (CONV, SLIDING, FULL)


class Lfm3(Lfm2):
    """`Lfm3ForCausalLM`."""

    model_type = "lfm3"
    model_class = "Lfm3ForCausalLM"
    harmless: ClassVar[tuple[str, ...]] = ()
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    out_norms = ("post_operator_norm", "post_ffn_norm")
    weight_table: ClassVar[WeightTable] = {
        **Lfm2.weight_table,
        Attention: ("self_attn", partial(attention_weights, whole=True)),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        types, position = layer_types(fields, "layer_types", *_TYPES), _norm_position(fields)
        gated, bias = fields.flag("use_attention_gate"), fields.flag("attention_bias")
        if bias and gated:
            raise fields.error("attention_bias", "a gate has no bias there and has one here; use false, or no gate")
        options = {"qk_norm": True, "output_gate": gated, "gate_per_head": gated, "bias": bias, "out_bias": bias}
        windows = {SLIDING: window_of(fields, types), FULL: None}
        # Where no layer has attention its fields say nothing, and are read all the same.
        attention(fields, **options)
        fields.get("rope_parameters")
        kinds: dict[str, Block] = {CONV: short_conv(fields).model_copy(update={"norm_position": position})}
        for kind, width in windows.items():
            if kind in types:
                turning = proportional_rope(fields, head_dim(fields), kind)
                kinds[kind] = attention(fields, window=width, norm_position=position, **options, **turning)
        return [kinds[kind] for kind in types]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        block = MLP.parse({"d_ff": fields.integer("intermediate_size"), "norm_position": _norm_position(fields)})
        return [block] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        position = only(block.norm_position for block in architecture.blocks)
        if position == "post":
            raise DoesNotFit
        convolutions = [block for block in mixers if isinstance(block, ShortConv)]
        heads = [as_attention(block) for block in mixers if not isinstance(block, ShortConv)]
        windows = [block.window for block in heads if isinstance(block, SWA)]
        found: dict[str, Any] = {
            "layer_types": [_type(block) for block in mixers],
            "intermediate_size": swiglu_width(channels),
            "use_sandwich_norm": position == "both",
            "sliding_window": only(windows) if windows else None,
        }
        if convolutions:
            found |= short_conv_fields(only(convolutions))
        if not heads:
            # Heads that no layer has, and that fit every width.
            return found | {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2}
        first, positions = heads[0], {_type(block): proportional_parameters(block) for block in heads}
        return found | {
            **attention_fields(first),
            "attention_bias": first.bias,
            "use_attention_gate": first.gate_per_head,
            "rope_parameters": positions,
        }


def _norm_position(fields: Fields) -> str:
    return "both" if fields.flag("use_sandwich_norm") else "pre"


def _type(block: Block) -> str:
    if isinstance(block, ShortConv):
        return CONV
    return SLIDING if isinstance(block, SWA) else FULL
