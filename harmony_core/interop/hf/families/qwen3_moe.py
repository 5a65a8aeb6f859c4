"""Qwen3-MoE: Qwen3's attention, and experts in the layers that are not named as dense."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, SWA, Architecture, Attention, Block, MoE
from harmony_core.interop.hf.families.qwen3 import qk_normed, qk_normed_fields
from harmony_core.interop.hf.family import Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import attention, attention_weights, window
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, as_mlp, hidden_act, mlp_weights
from harmony_core.interop.hf.parts.moe import (
    as_moe,
    balancing,
    balancing_fields,
    mixture_weights,
)


class Qwen3Moe(Layered):
    """`Qwen3MoeForCausalLM`."""

    model_type = "qwen3_moe"
    model_class = "Qwen3MoeForCausalLM"
    # The configuration turns use_sliding_window into sliding_window.
    harmless: ClassVar[tuple[str, ...]] = ("use_sliding_window",)
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MLP: ("mlp", mlp_weights),
        MoE: ("mlp", mixture_weights()),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        block = attention(fields, window=window(fields), **qk_normed(fields))
        return [block] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        activation = fields.choice("hidden_act", GATED_ACTIVATIONS)
        dense = MLP.parse({"d_ff": fields.integer("intermediate_size"), "activation": activation})
        step, experts = fields.integer("decoder_sparse_step"), fields.integer("num_local_experts", least=0)
        named, layers = fields.get("mlp_only_layers") or [], range(fields.integer("num_hidden_layers"))
        sparse = [experts > 0 and index not in named and (index + 1) % step == 0 for index in layers]
        mixture = {
            "n_routed": experts,
            "top_k": fields.get("num_experts_per_tok"),
            "d_expert": fields.get("moe_intermediate_size"),
            "activation": activation,
            "normalize_top_k": fields.flag("norm_topk_prob"),
            **balancing(fields),
        }
        if not any(sparse):
            return [dense for _ in layers]
        moe = MoE.parse(mixture, self.model_type)
        return [moe if one else dense for one in sparse]

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        dense = {index: block for index, block in enumerate(channels) if isinstance(block, MLP)}
        moe = as_moe(only(block for block in channels if not isinstance(block, MLP)))
        mixer = only(mixers)
        return {
            **qk_normed_fields(mixers),
            "use_sliding_window": isinstance(mixer, SWA),
            "sliding_window": mixer.window if isinstance(mixer, SWA) else None,
            "intermediate_size": as_mlp(only(dense.values())).d_ff if dense else moe.d_expert,
            "mlp_only_layers": list(dense),
            "decoder_sparse_step": 1,
            "num_experts": moe.n_routed,
            "num_experts_per_tok": moe.top_k,
            "moe_intermediate_size": moe.d_expert,
            "norm_topk_prob": moe.normalize_top_k,
            "hidden_act": hidden_act(moe.activation),
            **balancing_fields(moe),
        }
