"""OLMo Hybrid: Gated DeltaNets, and attention normed behind itself with a QK norm over all heads."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, GatedDeltaNet
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import (
    NO_ROPE,
    as_attention,
    attention,
    attention_fields,
    attention_weights,
)
from harmony_core.interop.hf.parts.delta import (
    gated_deltanet,
    gated_deltanet_fields,
    gated_deltanet_weights,
)
from harmony_core.interop.hf.parts.layer_types import FULL, RECURRENT, layer_types
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp, mlp_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight

# The class leaves the Gated DeltaNet's norm at this, whatever `rms_norm_eps` says.
_OUT_EPSILON = 1e-5


def _recurrent_weights(block: GatedDeltaNet, ours: str, theirs: str) -> Iterable[Weight]:
    values, heads = block.value_width, block.num_value_heads
    rows = {"q": block.key_width, "k": block.key_width, "v": values, "g": values, "b": heads, "a": heads}
    parts = [(f"{name}_proj", count) for name, count in rows.items()]
    return gated_deltanet_weights(block, ours, theirs, parts, norm="o_norm", out="o_proj")


class OlmoHybrid(Layered):
    """`OlmoHybridForCausalLM`."""

    model_type = "olmo_hybrid"
    model_class = "OlmoHybridForCausalLM"
    cache_needs_attention = True
    # First values of decays and step sizes.
    harmless: ClassVar[tuple[str, ...]] = (
        "linear_a_log_min",
        "linear_a_log_max",
        "linear_dt_min",
        "linear_dt_max",
        "linear_dt_init_floor",
    )
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        GatedDeltaNet: ("linear_attn", _recurrent_weights),
        MLP: ("mlp", mlp_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        # One field names the activation of feed-forwards and of the convolutions.
        fields.choice("hidden_act", ONLY_SILU)
        bias = fields.flag("attention_bias")
        options: dict[str, Any] = {"bias": bias, "out_bias": bias, "qk_norm": True, "qk_norm_joint": True}
        heads = attention(fields, norm_position="post", **options, **_positions(fields))
        negative = fields.flag("linear_allow_neg_eigval")
        epsilon = None if fields.number("rms_norm_eps") == _OUT_EPSILON else _OUT_EPSILON
        recurrent = gated_deltanet(fields, negative_eigenvalues=negative, out_norm_epsilon=epsilon)
        kinds = {FULL: heads, RECURRENT: recurrent}
        return [kinds[kind] for kind in layer_types(fields, "layer_types", FULL, RECURRENT)]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        dense = {"d_ff": fields.integer("intermediate_size")}
        kinds = {FULL: MLP.parse({**dense, "norm_position": "post"}), RECURRENT: MLP.parse(dense)}
        return [kinds[kind] for kind in layer_types(fields, "layer_types", FULL, RECURRENT)]

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        # The class wants a layer of each.
        recurrent = only(block for block in mixers if isinstance(block, GatedDeltaNet))
        full = as_attention(only(block for block in mixers if not isinstance(block, GatedDeltaNet)))
        assert isinstance(recurrent, GatedDeltaNet)
        if full.rope_fraction != 1:
            raise DoesNotFit
        return {
            **gated_deltanet_fields(recurrent),
            **attention_fields(full),
            "linear_allow_neg_eigval": recurrent.negative_eigenvalues,
            "layer_types": [RECURRENT if isinstance(block, GatedDeltaNet) else FULL for block in mixers],
            "attention_bias": full.bias,
            # Left out, the base would be the usual one.
            "rope_parameters": rope_parameters(full),
            "intermediate_size": only(as_mlp(block).d_ff for block in channels),
        }


def _positions(fields: Fields) -> dict[str, Any]:
    """No base is no positions, as in the published models."""
    parameters = fields.get("rope_parameters")
    if parameters is None or (isinstance(parameters, dict) and parameters.get("rope_theta") is None):
        return NO_ROPE
    return rope(fields)
