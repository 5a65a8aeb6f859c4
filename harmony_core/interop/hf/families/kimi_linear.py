"""Kimi Linear: Kimi Delta Attention, latent attention without positions, DeepSeek-V3's experts."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import KDA, MLA, MLP, Architecture, Block, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.delta import kda, kda_fields, kda_weights
from harmony_core.interop.hf.parts.layer_types import DENSE, FULL, RECURRENT, SPARSE, layer_types
from harmony_core.interop.hf.parts.mla import latent_attention, latent_fields, mla_weights
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp, mlp_weights
from harmony_core.interop.hf.parts.moe import (
    as_moe,
    mixture_weights,
    sigmoid_router,
    sigmoid_router_fields,
)

# DeepSeek-V3 has these fields under other names.
_ROUTER = {
    "num_experts_per_tok": "num_experts_per_token",
    "norm_topk_prob": "moe_renormalize",
    "n_group": "num_expert_group",
}


class KimiLinear(Layered):
    """`KimiLinearForCausalLM`."""

    model_type = "kimi_linear"
    model_class = "KimiLinearForCausalLM"
    cache_needs_attention = True
    # What the class makes others of; nothing is rotary, and nothing tied.
    harmless: ClassVar[tuple[str, ...]] = (
        "model_max_length",
        "tie_word_embeddings",
        "output_router_logits",
        "pretraining_tp",
        "qk_head_dim",
        "head_dim",
        "rope_parameters",
        "linear_attn_config",
        "first_k_dense_replace",
    )
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "moe_layer_freq": (1,),
        "mla_use_nope": (True,),
        "moe_router_activation_func": ("sigmoid",),
    }
    weight_table: ClassVar[WeightTable] = {
        KDA: ("self_attn", kda_weights),
        MLA: ("self_attn", partial(mla_weights, halves=False)),
        MLP: ("mlp", mlp_weights),
        MoE: ("mlp", mixture_weights("e_score_correction_bias", shared="shared_experts")),
    }

    @override
    def head(self, fields: Fields) -> dict[str, Any]:
        return {"tie_embeddings": False}

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        # One field names the activation of feed-forwards and of the convolutions.
        fields.choice("hidden_act", ONLY_SILU)
        kinds = {FULL: latent_attention(fields, rope_base=None), RECURRENT: kda(fields)}
        return [kinds[kind] for kind in layer_types(fields, "layer_types", FULL, RECURRENT)]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        types = layer_types(fields, "mlp_layer_types", DENSE, SPARSE)
        renamed = {ours: fields.get(theirs) for ours, theirs in _ROUTER.items()}
        for name in ("num_experts", "moe_intermediate_size", "num_shared_experts", "routed_scaling_factor"):
            fields.get(name)
        fields.get("topk_group")
        blocks: dict[str, Block] = {DENSE: MLP(d_ff=fields.integer("intermediate_size"))}
        if SPARSE in types:
            mixture = {
                "n_routed": fields.integer("num_experts"),
                "d_expert": fields.integer("moe_intermediate_size"),
                "n_shared": fields.integer("num_shared_experts", least=0),
                **sigmoid_router(Fields(fields.model_type, {**fields.values, **renamed}, fields.where)),
            }
            blocks[SPARSE] = MoE.parse(mixture, self.model_type)
        return [blocks[kind] for kind in types]

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        recurrent = [block for block in mixers if isinstance(block, KDA)]
        full = [block for block in mixers if not isinstance(block, KDA)]
        dense = [block for block in channels if isinstance(block, MLP)]
        sparse = [as_moe(block) for block in channels if not isinstance(block, MLP)]
        found: dict[str, Any] = {
            "layer_types": [RECURRENT if isinstance(block, KDA) else FULL for block in mixers],
            "mlp_layer_types": [DENSE if isinstance(block, MLP) else SPARSE for block in channels],
        }
        if recurrent:
            found |= kda_fields(only(recurrent))
        if full:
            mixer = only(full)
            if not isinstance(mixer, MLA) or mixer.rope_base is not None:
                raise DoesNotFit
            found |= latent_fields(mixer)
        if dense:
            found["intermediate_size"] = as_mlp(only(dense)).d_ff
        return found | (_mixture_fields(only(sparse)) if sparse else {})


def _mixture_fields(moe: MoE) -> dict[str, Any]:
    if moe.shared_width % moe.d_expert or moe.router != "sigmoid" or moe.shared_gate or moe.shared_bias:
        raise DoesNotFit
    fields = {_ROUTER.get(name, name): value for name, value in sigmoid_router_fields(moe).items()}
    return {
        "num_experts": moe.n_routed,
        "moe_intermediate_size": moe.d_expert,
        "num_shared_experts": moe.shared_width // moe.d_expert,
        **fields,
    }
