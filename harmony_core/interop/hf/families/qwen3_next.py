"""Qwen3-Next: Gated DeltaNet and gated attention with partly rotated heads, experts beside a gated shared one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, GatedDeltaNet, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import as_attention, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.delta import (
    fused_gated_deltanet_weights,
    gated_deltanet,
    gated_deltanet_fields,
)
from harmony_core.interop.hf.parts.layer_types import FULL, RECURRENT, layer_types
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp, mlp_weights, network_weights
from harmony_core.interop.hf.parts.moe import as_moe, balancing, balancing_fields, expert_weights, router_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight, centred, same

# The weights of these norms are stored as their difference from one.
CENTRED = ("layernorm.weight", "q_norm.weight", "k_norm.weight", "model.norm.weight")


def _mixture_weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
    yield from router_weights(ours, f"{theirs}.gate")
    yield from expert_weights(ours, f"{theirs}.experts")
    yield from network_weights(f"{ours}.shared_", f"{theirs}.shared_expert", block.shared_width, "swiglu", False)
    yield same(f"{ours}.shared_gate", f"{theirs}.shared_expert_gate.weight")


class Qwen3Next(Layered):
    """`Qwen3NextForCausalLM`."""

    model_type = "qwen3_next"
    model_class = "Qwen3NextForCausalLM"
    cache_needs_attention = True
    # What layer_types are made of.
    harmless: ClassVar[tuple[str, ...]] = ("full_attention_interval",)
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    weight_table: ClassVar[WeightTable] = {
        GatedDeltaNet: ("linear_attn", fused_gated_deltanet_weights),
        Attention: ("self_attn", attention_weights),
        MLP: ("mlp", mlp_weights),
        MoE: ("mlp", _mixture_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        # One field names the activation of feed-forwards and of the convolutions.
        fields.choice("hidden_act", ONLY_SILU)
        bias = fields.flag("attention_bias")
        options = {"bias": bias, "out_bias": bias, "qk_norm": True, "output_gate": True}
        heads = attention(fields, **options, **rope(fields, partial=True))
        kinds = {FULL: heads, RECURRENT: gated_deltanet(fields)}
        return [kinds[kind] for kind in layer_types(fields, "layer_types", FULL, RECURRENT)]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        dense = MLP(d_ff=fields.integer("intermediate_size"))
        step, experts = fields.integer("decoder_sparse_step"), fields.integer("num_experts", least=0)
        named, layers = fields.get("mlp_only_layers") or [], range(fields.integer("num_hidden_layers"))
        sparse = [experts > 0 and index not in named and (index + 1) % step == 0 for index in layers]
        mixture = {
            "n_routed": experts,
            "top_k": fields.get("num_experts_per_tok"),
            "d_expert": fields.get("moe_intermediate_size"),
            "n_shared": 1,
            "d_shared": fields.get("shared_expert_intermediate_size"),
            "shared_gate": True,
            "normalize_top_k": fields.flag("norm_topk_prob"),
            **balancing(fields),
        }
        if not any(sparse):
            return [dense for _ in layers]
        moe = MoE.parse(mixture, self.model_type).canonical()
        return [moe if one else dense for one in sparse]

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        recurrent = [block for block in mixers if isinstance(block, GatedDeltaNet)]
        full = [as_attention(block) for block in mixers if not isinstance(block, GatedDeltaNet)]
        dense = {index: block for index, block in enumerate(channels) if isinstance(block, MLP)}
        sparse = [as_moe(block) for block in channels if not isinstance(block, MLP)]
        found: dict[str, Any] = {
            "layer_types": [RECURRENT if isinstance(block, GatedDeltaNet) else FULL for block in mixers],
            "mlp_only_layers": list(dense),
            "decoder_sparse_step": 1,
            "num_experts": 0,
        }
        if recurrent:
            found |= gated_deltanet_fields(only(recurrent))
        if full:
            mixer = only(full)
            found |= {**attention_fields(mixer), "attention_bias": mixer.bias}
            # If it is left out, the class turns a quarter of a head.
            found["rope_parameters"] = {"partial_rotary_factor": 1.0, **rope_parameters(mixer)}
        if dense:
            found["intermediate_size"] = as_mlp(only(dense.values())).d_ff
        return found | (_mixture_fields(only(sparse)) if sparse else {})

    @override
    def weights(self, architecture: Architecture) -> Iterator[Weight]:
        for weight in super().weights(architecture):
            yield centred(weight, CENTRED)


def _mixture_fields(moe: MoE) -> dict[str, Any]:
    if moe.router != "softmax" or not moe.shared_gate:
        raise DoesNotFit
    return {
        "num_experts": moe.n_routed,
        "num_experts_per_tok": moe.top_k,
        "moe_intermediate_size": moe.d_expert,
        "shared_expert_intermediate_size": moe.shared_width,
        "norm_topk_prob": moe.normalize_top_k,
        **balancing_fields(moe),
    }
