"""Qwen3.5's language models: Qwen3-Next with projections of a tensor each; all layers dense, or all with experts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Block, GatedDeltaNet, MoE
from harmony_core.interop.hf.families.qwen3_next import Qwen3Next
from harmony_core.interop.hf.family import DoesNotFit, WeightTable
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.delta import gated_deltanet_weights
from harmony_core.interop.hf.parts.moe import balancing
from harmony_core.interop.hf.weights import Weight


def _recurrent_weights(block: GatedDeltaNet, ours: str, theirs: str) -> Iterable[Weight]:
    heads = block.num_value_heads
    parts = [("qkv", block.conv_width), ("z", block.value_width), ("b", heads), ("a", heads)]
    named = [(f"in_proj_{name}", rows) for name, rows in parts]
    return gated_deltanet_weights(block, ours, theirs, named, norm="norm", out="out_proj")


class Qwen35(Qwen3Next):
    """`Qwen3_5ForCausalLM`."""

    model_type = "qwen3_5_text"
    model_class = "Qwen3_5ForCausalLM"
    # What layer_types are made of.
    harmless: ClassVar[tuple[str, ...]] = ("full_attention_interval",)
    # The class always has the gate.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"attn_output_gate": (True,)}
    weight_table: ClassVar[WeightTable] = {
        **Qwen3Next.weight_table,
        GatedDeltaNet: ("linear_attn", _recurrent_weights),
    }

    @override
    def channels(self, fields: Fields) -> list[Block]:
        return [MLP(d_ff=fields.integer("intermediate_size"))] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        # Whatever this class computes Qwen3-Next's does too, and that one is written.
        raise DoesNotFit


class Qwen35Moe(Qwen35):
    """`Qwen3_5MoeForCausalLM`, whose chosen weights always add up to one."""

    model_type = "qwen3_5_moe_text"
    model_class = "Qwen3_5MoeForCausalLM"

    @override
    def channels(self, fields: Fields) -> list[Block]:
        mixture = {
            "n_routed": fields.integer("num_experts"),
            "top_k": fields.integer("num_experts_per_tok"),
            "d_expert": fields.integer("moe_intermediate_size"),
            "n_shared": 1,
            "d_shared": fields.integer("shared_expert_intermediate_size"),
            "shared_gate": True,
            **balancing(fields),
        }
        moe = MoE.parse(mixture, self.model_type).canonical()
        return [moe] * fields.integer("num_hidden_layers")
