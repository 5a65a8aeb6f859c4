"""LFM2: gated short convolutions, attention with QK norm in the layers that `layer_types` names, SwiGLU."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, ShortConv
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import as_attention, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.layer_types import FULL, layer_types
from harmony_core.interop.hf.parts.mlp import as_mlp, numbered_mlp_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.parts.short_conv import short_conv, short_conv_fields, short_conv_weights

CONV = "conv"


class Lfm2(Layered):
    """`Lfm2ForCausalLM`."""

    model_type = "lfm2"
    model_class = "Lfm2ForCausalLM"
    cache_needs_attention = True
    epsilon_field = "norm_eps"
    final_norm = "model.embedding_norm.weight"
    norms = ("operator_norm", "ffn_norm")
    # The configuration turns full_attn_idxs into layer_types.
    harmless: ClassVar[tuple[str, ...]] = ("full_attn_idxs",)
    weight_table: ClassVar[WeightTable] = {
        ShortConv: ("conv", short_conv_weights),
        Attention: ("self_attn", partial(attention_weights, norm="layernorm", out="out_proj")),
        MLP: ("feed_forward", numbered_mlp_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        kinds = {CONV: short_conv(fields), FULL: attention(fields, qk_norm=True, **rope(fields))}
        return [kinds[kind] for kind in layer_types(fields, "layer_types", CONV, FULL)]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        return [MLP(d_ff=_inner_width(fields))] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        return {
            **mixer_fields(mixers),
            "intermediate_size": swiglu_width(channels),
            "block_auto_adjust_ff_dim": False,
        }


def mixer_fields(mixers: list[Block]) -> dict[str, Any]:
    """Fields of convolutions and attention, which are the same in all layers of a kind."""
    convolutions = [block for block in mixers if isinstance(block, ShortConv)]
    full = [as_attention(block) for block in mixers if not isinstance(block, ShortConv)]
    found: dict[str, Any] = {"layer_types": [CONV if isinstance(block, ShortConv) else FULL for block in mixers]}
    if convolutions:
        found |= short_conv_fields(only(convolutions))
    if full:
        return found | {**attention_fields(only(full)), "rope_parameters": rope_parameters(only(full))}
    # No layer has these heads; they fit every width.
    return found | {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2}


def swiglu_width(channels: list[Block]) -> int:
    """Inner width of feed-forwards that are the same SwiGLU without biases."""
    block = as_mlp(only(channels))
    if block.activation != "swiglu" or block.bias:
        raise DoesNotFit
    return block.d_ff


def _inner_width(fields: Fields) -> int:
    """`intermediate_size`, or two thirds of it, times a factor, rounded up to a multiple."""
    width, multiple = fields.integer("intermediate_size"), fields.integer("block_multiple_of")
    factor = fields.number("block_ffn_dim_multiplier")
    if not fields.flag("block_auto_adjust_ff_dim"):
        return width
    return -(-int(factor * int(2 * width / 3)) // multiple) * multiple
