"""MiMo-V2-Flash: windows with sinks and twice the key/value heads, narrower values, DeepSeek-V3's routed experts."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, SWA, Architecture, Attention, Block, MoE
from harmony_core.interop.hf.family import DoesNotFit, Family, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import as_attention, attention, attention_weights, window_of
from harmony_core.interop.hf.parts.layer_types import DENSE, FULL, SLIDING, SPARSE, layer_types
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, as_mlp, hidden_act, mlp_weights
from harmony_core.interop.hf.parts.moe import (
    as_moe,
    mixture_weights,
    sigmoid_router,
    sigmoid_router_fields,
)
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight


class MiMoV2Flash(Layered):
    """`MiMoV2FlashForCausalLM`.

    Args:
        value_scale: what the configuration multiplies values with, which is in their projection here.
    """

    model_type = "mimo_v2_flash"
    model_class = "MiMoV2FlashForCausalLM"
    # Whether the logits of the routers are shown; what the authors' code reads of windows and the class makes another
    # field of, or has no layers for.
    harmless: ClassVar[tuple[str, ...]] = ("output_router_logits", "sliding_window_size", "attention_chunk_size")
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    # The class has these and no others.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "add_swa_attention_sink_bias": (True,),
        "add_full_attention_sink_bias": (False,),
        "scoring_func": ("sigmoid",),
        "topk_method": ("noaux_tc",),
        "n_shared_experts": (None, 0),
    }

    def __init__(self, value_scale: float = 1.0) -> None:
        self.value_scale = value_scale

    weight_table: ClassVar[WeightTable] = {
        MLP: ("mlp", mlp_weights),
        MoE: ("mlp", mixture_weights("e_score_correction_bias")),
    }

    @override
    def variant(self, values: Mapping[str, Any]) -> Family:
        return _scaled(values.get("attention_value_scale"))

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        # In the weights, where `variant` puts it.
        fields.number("attention_value_scale", default=1.0)
        types, heads = layer_types(fields, "layer_types", FULL, SLIDING), fields.integer("num_key_value_heads")
        options = {"v_head_dim": fields.integer("v_head_dim"), "bias": fields.flag("attention_bias")}
        seen = window_of(fields, types)
        own: dict[str, dict[str, Any]] = {
            FULL: {"num_kv_heads": heads},
            SLIDING: {"num_kv_heads": 2 * heads, "window": seen, "sinks": True},
        }
        kinds = {
            kind: attention(fields, **own[kind], **options, **rope(fields, partial=True, layer_type=kind)).canonical()
            for kind in dict.fromkeys(types)
        }
        return [kinds[kind] for kind in types]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        types, activation = (
            layer_types(fields, "mlp_layer_types", DENSE, SPARSE),
            fields.choice("hidden_act", GATED_ACTIVATIONS),
        )
        blocks: dict[str, Block] = {
            DENSE: MLP.parse({"d_ff": fields.integer("intermediate_size"), "activation": activation})
        }
        mixture = {
            "n_routed": fields.integer("n_routed_experts"),
            "d_expert": fields.integer("moe_intermediate_size"),
            "activation": activation,
            **sigmoid_router(fields),
        }
        if SPARSE in types:
            blocks[SPARSE] = MoE.parse(mixture, self.model_type)
        return [blocks[kind] for kind in types]

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        heads = [as_attention(block) for block in mixers]
        windows = [block.window for block in mixers if isinstance(block, SWA)]
        types = [SLIDING if isinstance(block, SWA) else FULL for block in mixers]
        first, doubled = heads[0], 2 if types[0] == SLIDING else 1
        if first.kv_heads % doubled:
            raise DoesNotFit
        dense = [block for block in channels if isinstance(block, MLP)]
        sparse = [as_moe(block) for block in channels if not isinstance(block, MLP)]
        found: dict[str, Any] = {
            "num_attention_heads": first.num_heads,
            "num_key_value_heads": first.kv_heads // doubled,
            "head_dim": first.head_dim,
            "v_head_dim": first.value_dim,
            "attention_bias": first.bias,
            "attention_value_scale": None,
            "layer_types": types,
            "rope_parameters": {kind: _positions(block) for kind, block in zip(types, heads, strict=True)},
            "sliding_window": only(windows) if windows else 1,
            "mlp_layer_types": [DENSE if isinstance(block, MLP) else SPARSE for block in channels],
        }
        if dense:
            found |= {"intermediate_size": as_mlp(only(dense)).d_ff, "hidden_act": hidden_act(dense[0].activation)}
        return found | (_expert_fields(only(sparse)) if sparse else {})

    @override
    def layer_weights(self, block: Block, ours: str, layer: str) -> Iterable[Weight]:
        if isinstance(block, Attention):
            return attention_weights(block, ours, f"{layer}.self_attn", value_scale=self.value_scale)
        return super().layer_weights(block, ours, layer)


@functools.cache
def _scaled(value_scale: float | None) -> MiMoV2Flash:
    """One family a scale."""
    return MiMoV2Flash(1.0 if value_scale is None else value_scale)


def _positions(block: Attention) -> dict[str, Any]:
    # Left out, the class would turn a third.
    return {"partial_rotary_factor": 1.0, **rope_parameters(block)}


def _expert_fields(moe: MoE) -> dict[str, Any]:
    if moe.router != "sigmoid" or moe.shared_width:
        raise DoesNotFit
    return {
        "n_routed_experts": moe.n_routed,
        "moe_intermediate_size": moe.d_expert,
        "hidden_act": hidden_act(moe.activation),
        **sigmoid_router_fields(moe),
    }
