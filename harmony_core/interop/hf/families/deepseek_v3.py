"""DeepSeek-V3: V2 with a sigmoid router whose bias moves the choice, and rotary elements in pairs or in halves."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLA, Architecture, Block, MoE
from harmony_core.interop.hf.families.deepseek_v2 import DeepseekV2
from harmony_core.interop.hf.family import DoesNotFit, Family, WeightTable
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.mla import mla, mla_weights
from harmony_core.interop.hf.parts.moe import mixture_weights, sigmoid_router, sigmoid_router_fields


class DeepseekV3(DeepseekV2):
    """`DeepseekV3ForCausalLM`."""

    model_type = "deepseek_v3"
    model_class = "DeepseekV3ForCausalLM"
    # As for V2.
    harmless: ClassVar[tuple[str, ...]] = (
        "qk_head_dim",
        "pretraining_tp",
        "output_router_logits",
    )
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "moe_layer_freq": (1,),
        "scoring_func": ("sigmoid",),
        "topk_method": ("noaux_tc",),
    }
    complex_views = False
    weight_table: ClassVar[WeightTable] = {
        **DeepseekV2.weight_table,
        MoE: ("mlp", mixture_weights("e_score_correction_bias", shared="shared_experts")),
    }

    @override
    def variant(self, values: Mapping[str, Any]) -> Family:
        return self if values.get("rope_interleave") else DeepseekV3InHalves()

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        fields.flag("rope_interleave")
        return [mla(fields)] * fields.integer("num_hidden_layers")

    @override
    def mlp_bias(self, fields: Fields) -> bool:
        return False

    @override
    def router(self, fields: Fields, strict: bool) -> dict[str, Any]:
        for name in ("num_experts_per_tok", "routed_scaling_factor", "norm_topk_prob", "n_group", "topk_group"):
            fields.get(name)
        return sigmoid_router(fields) if strict else {}

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        found = super().layer_fields(architecture, mixers, channels)
        if found.pop("mlp_bias", False):
            raise DoesNotFit
        return {**found, "rope_interleave": True, "num_nextn_predict_layers": 0}

    @override
    def expert_fields(self, block: MoE) -> dict[str, Any]:
        if block.shared_width % block.d_expert or block.router != "sigmoid":
            raise DoesNotFit
        return {
            "n_routed_experts": block.n_routed,
            "moe_intermediate_size": block.d_expert,
            "n_shared_experts": block.shared_width // block.d_expert,
            **sigmoid_router_fields(block),
        }


class DeepseekV3InHalves(DeepseekV3):
    """`rope_interleave` false: element i of a rotary vector turns with element i + half its width."""

    weight_table: ClassVar[WeightTable] = {
        **DeepseekV3.weight_table,
        MLA: ("self_attn", partial(mla_weights, halves=True)),
    }
