"""LFM2-MoE: LFM2 whose layers behind the first dense ones have experts under a sigmoid router."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Block, MoE
from harmony_core.interop.hf.families.lfm2 import Lfm2, mixer_fields, swiglu_width
from harmony_core.interop.hf.family import DoesNotFit, Family, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.moe import as_moe, expert_weights, router_weights
from harmony_core.interop.hf.weights import Weight, same


class Lfm2Moe(Lfm2):
    """`Lfm2MoeForCausalLM`."""

    model_type = "lfm2_moe"
    model_class = "Lfm2MoeForCausalLM"
    # If it is asked for, the outputs hold the routers' logits; no loss is made of them.
    harmless: ClassVar[tuple[str, ...]] = ("output_router_logits",)
    expert_bias: ClassVar[str | None] = "expert_bias"

    @override
    def variant(self, values: Mapping[str, Any]) -> Family:
        return self if values.get("use_expert_bias") else Lfm2MoeWithoutBias()

    @override
    def channels(self, fields: Fields) -> list[Block]:
        length, dense = fields.integer("num_hidden_layers"), fields.integer("num_dense_layers", least=0)
        mixture = {
            "n_routed": fields.get("num_experts"),
            "top_k": fields.get("num_experts_per_tok"),
            "d_expert": fields.get("moe_intermediate_size"),
            "router": "sigmoid",
            "normalize_top_k": fields.flag("norm_topk_prob"),
            "routed_scale": fields.number("routed_scaling_factor"),
            "balancing": "bias" if fields.flag("use_expert_bias") else "none",
        }
        network = MLP(d_ff=fields.integer("intermediate_size"))
        if dense >= length:
            return [network] * length
        return [network] * dense + [MoE.parse(mixture, self.model_type)] * (length - dense)

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        dense = [block for block in channels if isinstance(block, MLP)]
        sparse = [as_moe(block) for block in channels[len(dense) :]]
        found = {**mixer_fields(mixers), "num_dense_layers": len(dense)}
        if dense:
            found["intermediate_size"] = swiglu_width(list(dense))
        return found | (_mixture_fields(only(sparse)) if sparse else {})

    @override
    def layer_weights(self, block: Block, ours: str, layer: str) -> Iterable[Weight]:
        if not isinstance(block, MoE):
            return super().layer_weights(block, ours, layer)
        theirs = f"{layer}.feed_forward"
        weights = [*router_weights(ours, f"{theirs}.gate"), *expert_weights(ours, f"{theirs}.experts")]
        # There, the bias that moves the choice lies beside the router.
        biases = [] if self.expert_bias is None else [same(f"{ours}.router.bias_E", f"{theirs}.{self.expert_bias}")]
        return [*weights, *biases]


class Lfm2MoeWithoutBias(Lfm2Moe):
    """`use_expert_bias` false."""

    expert_bias: ClassVar[str | None] = None


def _mixture_fields(block: MoE) -> dict[str, Any]:
    if block.router != "sigmoid" or block.shared_width or block.top_groups < block.n_groups:
        raise DoesNotFit
    return {
        "num_experts": block.n_routed,
        "num_experts_per_tok": block.top_k,
        "moe_intermediate_size": block.d_expert,
        "norm_topk_prob": block.normalize_top_k,
        "routed_scaling_factor": block.routed_scale,
        "use_expert_bias": True,
    }
