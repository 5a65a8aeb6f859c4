"""DeepSeek-V2: latent attention; the first layers dense, the others with routed and shared experts."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLA, MLP, Architecture, Block, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.mla import mla, mla_fields, mla_weights
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, as_mlp, hidden_act, mlp_weights
from harmony_core.interop.hf.parts.moe import as_moe, mixture_weights


class DeepseekV2(Layered):
    """`DeepseekV2ForCausalLM`."""

    model_type = "deepseek_v2"
    model_class = "DeepseekV2ForCausalLM"
    # qk_head_dim follows from two others. The router never normalises, whatever norm_topk_prob says. The authors' own
    # code, or its training, reads the others.
    harmless: ClassVar[tuple[str, ...]] = (
        "qk_head_dim",
        "pretraining_tp",
        "norm_topk_prob",
        "output_router_logits",
    )
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"moe_layer_freq": (1,), "scoring_func": ("softmax",)}
    # The modeling code views rotary elements as complex numbers, which must not begin at odd places.
    complex_views: ClassVar[bool] = True
    weight_table: ClassVar[WeightTable] = {
        MLA: ("self_attn", partial(mla_weights, halves=False)),
        MLP: ("mlp", mlp_weights),
        MoE: ("mlp", mixture_weights(shared="shared_experts")),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        return [mla(fields)] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        length, dense_layers = fields.integer("num_hidden_layers"), fields.integer("first_k_dense_replace", least=0)
        activation, bias = fields.choice("hidden_act", GATED_ACTIVATIONS), self.mlp_bias(fields)
        dense = MLP.parse({"d_ff": fields.integer("intermediate_size"), "activation": activation, "bias": bias})
        experts = {"n_shared": "n_shared_experts", "d_expert": "moe_intermediate_size", "n_routed": "n_routed_experts"}
        mixture = {ours: fields.get(theirs) for ours, theirs in experts.items()}
        mixture |= {"activation": activation, "shared_bias": bias}
        if dense_layers >= length:
            # No layer has experts, so the fields of experts have no effect.
            self.router(fields, strict=False)
            return [dense] * length
        for name in experts.values():
            fields.integer(name, least=0 if name == "n_shared_experts" else 1)
        mixture |= self.router(fields, strict=True)
        return [dense] * dense_layers + [MoE.parse(mixture, self.model_type)] * (length - dense_layers)

    def mlp_bias(self, fields: Fields) -> bool:
        """Whether dense and shared networks have biases."""
        return fields.flag("mlp_bias")

    def router(self, fields: Fields, strict: bool) -> dict[str, Any]:
        """The router's options; without `strict`, fields are only marked as read."""
        names = ("num_experts_per_tok", "routed_scaling_factor", "topk_method", "n_group", "topk_group")
        for name in names:
            fields.get(name)
        if not strict:
            return {}
        limited = fields.choice("topk_method", {"greedy": "", "group_limited_greedy": "limited"})
        return {
            "top_k": fields.integer("num_experts_per_tok"),
            "normalize_top_k": False,
            "routed_scale": fields.number("routed_scaling_factor"),
            "n_groups": fields.integer("n_group") if limited else 1,
            "top_groups": fields.integer("topk_group") if limited else 1,
            "group_score": "max",
            "balancing": "none",
        }

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        mixer = only(mixers)
        if self.complex_views and isinstance(mixer, MLA) and (mixer.qk_nope_head_dim % 2 or mixer.kv_lora_rank % 2):
            raise DoesNotFit
        dense = [block for block in channels if isinstance(block, MLP)]
        sparse = [as_moe(block) for block in channels[len(dense) :]]
        found = {**mla_fields(mixer), "first_k_dense_replace": len(dense), "intermediate_size": 1}
        if dense:
            mlp = as_mlp(only(dense))
            found |= {"intermediate_size": mlp.d_ff, "hidden_act": hidden_act(mlp.activation), "mlp_bias": mlp.bias}
        if sparse:
            moe = only(sparse)
            if dense and (moe.activation, moe.shared_bias) != (dense[0].activation, dense[0].bias):
                raise DoesNotFit
            found |= {"hidden_act": hidden_act(moe.activation), "mlp_bias": moe.shared_bias}
            found |= self.expert_fields(moe)
        return found

    def expert_fields(self, block: MoE) -> dict[str, Any]:
        """Fields of a mixture."""
        shared = block.shared_width
        if shared % block.d_expert or block.router != "softmax" or block.normalize_top_k:
            raise DoesNotFit
        limited = block.top_groups < block.n_groups
        return {
            "n_routed_experts": block.n_routed,
            "num_experts_per_tok": block.top_k,
            "moe_intermediate_size": block.d_expert,
            "n_shared_experts": shared // block.d_expert,
            "routed_scaling_factor": block.routed_scale,
            "topk_method": "group_limited_greedy" if limited else "greedy",
            "n_group": block.n_groups if limited else 1,
            "topk_group": block.top_groups if limited else 1,
        }
