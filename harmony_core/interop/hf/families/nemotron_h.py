"""Nemotron-H: blocks in any order, of Mamba-2, attention without positions, squared ReLU and experts of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, Mamba2, MoE
from harmony_core.interop.hf.family import DoesNotFit, Family, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import NO_ROPE, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.mamba2 import mamba2, mamba2_fields, mamba2_weights
from harmony_core.interop.hf.parts.mlp import PLAIN_ACTIVATIONS, as_mlp, hidden_act, mlp_weights
from harmony_core.interop.hf.parts.moe import (
    as_moe,
    expert_weights,
    latent_weights,
    router_weights,
    shared_weights,
    sigmoid_router,
    sigmoid_router_fields,
)
from harmony_core.interop.hf.weights import Weight

_NAMES = {
    "d_state": "ssm_state_size",
    "n_groups": "n_groups",
    "d_conv": "conv_kernel",
    "head_dim": "mamba_head_dim",
    "chunk_size": "chunk_size",
    "bias": "use_bias",
    "conv_bias": "use_conv_bias",
}
_TYPES: dict[type[Block], str] = {
    Mamba2: "linear_attention",
    Attention: "full_attention",
    MLP: "mlp",
    MoE: "moe",
}


def _mixture_weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
    yield from router_weights(ours, f"{theirs}.gate", "e_score_correction_bias")
    yield from expert_weights(ours, f"{theirs}.experts", up="up_proj")
    yield from latent_weights(block, ours, theirs)
    yield from shared_weights(block, ours, f"{theirs}.shared_experts")


class NemotronH(Family):
    """`NemotronHForCausalLM`."""

    model_type = "nemotron_h"
    model_class = "NemotronHForCausalLM"
    cache_needs_attention = True
    # Never read by the modeling code, some of them in spite of their names: attention has no biases, Mamba's are
    # use_bias's, its width is heads x head width, its lower limit of dt is time_step_min and it has no upper one, the
    # shared network is there once, embedding and head are never tied. The others concern first values or kernels, or
    # others are made of them.
    harmless: ClassVar[tuple[str, ...]] = (
        "attention_bias",
        "tie_word_embeddings",
        "num_logits_to_keep",
        "use_mamba_kernels",
        "mamba_ssm_cache_dtype",
        "mamba_proj_bias",
        "expand",
        "time_step_limit",
        "time_step_max",
        "time_step_floor",
        "n_shared_experts",
        "moe_shared_expert_overlap",
        "output_router_logits",
        "residual_in_fp32",
        "rescale_prenorm_residual",
        "attention_head_dim",
        "num_hidden_layers",
    )
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout", "hidden_dropout")
    # The class never applies a window, but would cut the cache to it.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "sliding_window": (None,),
        "mamba_hidden_act": ("silu", "swish"),
    }
    epsilon_field = "layer_norm_epsilon"
    embedding = "model.embeddings.weight"
    final_norm = "model.norm_f.weight"
    weight_table: ClassVar[WeightTable] = {
        Attention: ("mixer", attention_weights),
        Mamba2: ("mixer", mamba2_weights),
        MLP: ("mixer", mlp_weights),
        MoE: ("mixer", _mixture_weights),
    }

    @override
    def head(self, fields: Fields) -> dict[str, Any]:
        return {"tie_embeddings": False}

    @override
    def blocks(self, fields: Fields) -> Iterable[Block]:
        heads, width = fields.integer("mamba_num_heads"), fields.integer("mamba_head_dim")
        kinds = {
            "full_attention": attention(fields, **NO_ROPE),
            "linear_attention": mamba2(
                fields, _NAMES, inner_width=heads * width, dt_limit=(fields.number("time_step_min"), None)
            ),
            **self._channels(fields),
        }
        types = fields.get("layers_block_type")
        if not isinstance(types, list | tuple) or not types or not {*types} <= {*_TYPES.values()}:
            raise fields.error("layers_block_type", f"use a list of {', '.join(_TYPES.values())}")
        if "moe" in types and "moe" not in kinds:
            kinds["moe"] = self._moe(fields)
        return [kinds[kind] for kind in types]

    def _channels(self, fields: Fields) -> dict[str, Block]:
        activation, bias = fields.choice("mlp_hidden_act", PLAIN_ACTIVATIONS), fields.flag("mlp_bias")
        d_ff = fields.integer("intermediate_size")
        for name in (
            "n_routed_experts",
            "num_experts_per_tok",
            "moe_intermediate_size",
            "moe_shared_expert_intermediate_size",
            "moe_latent_size",
            "routed_scaling_factor",
            "norm_topk_prob",
            "n_group",
            "topk_group",
        ):
            fields.get(name)
        return {"mlp": MLP.parse({"d_ff": d_ff, "activation": activation, "bias": bias})}

    def _moe(self, fields: Fields) -> Block:
        # 0 means the width of the dense layers.
        shared = fields.integer("moe_shared_expert_intermediate_size", least=0) or fields.integer("intermediate_size")
        latent = None if fields.get("moe_latent_size") is None else fields.integer("moe_latent_size")
        return MoE.parse(
            {
                "n_routed": fields.integer("n_routed_experts"),
                "d_expert": fields.integer("moe_intermediate_size"),
                "activation": fields.choice("mlp_hidden_act", PLAIN_ACTIVATIONS),
                "d_latent": latent,
                "latent_bias": latent is not None and fields.flag("mlp_bias"),
                "n_shared": 1,
                "d_shared": shared,
                "shared_bias": fields.flag("mlp_bias"),
                **sigmoid_router(fields),
            },
            self.model_type,
        )

    @override
    def block_fields(self, architecture: Architecture) -> dict[str, Any]:
        found: dict[str, Any] = {"layers_block_type": [_type(block) for block in architecture.blocks]}
        of = {
            kind: only(block for block in architecture.blocks if _type(block) == kind)
            for kind in dict.fromkeys(found["layers_block_type"])
        }
        if "linear_attention" in of:
            mixer = of["linear_attention"]
            found |= mamba2_fields(mixer, _NAMES)
            assert isinstance(mixer, Mamba2)
            low, high = mixer.dt_limit
            if high is not None:
                raise DoesNotFit
            found |= {"time_step_min": low, "mamba_num_heads": mixer.num_heads(architecture.d_model)}
        if isinstance(heads := of.get("full_attention"), Attention):
            found |= attention_fields(heads)
        if "mlp" in of:
            mlp = as_mlp(of["mlp"])
            found |= {"intermediate_size": mlp.d_ff, "mlp_bias": mlp.bias, "mlp_hidden_act": hidden_act(mlp.activation)}
        if "moe" in of:
            found |= _expert_fields(as_moe(of["moe"]))
        return found

    @override
    def norm_name(self, index: int) -> str:
        return f"model.layers.{index}.norm.weight"

    @override
    def block_weights(self, block: Block, ours: str, index: int) -> Iterable[Weight]:
        return self.layer_weights(block, ours, f"model.layers.{index}")


def _type(block: Block) -> str:
    for kind, name in _TYPES.items():
        if isinstance(block, kind):
            return name
    raise DoesNotFit


def _expert_fields(block: MoE) -> dict[str, Any]:
    if block.shared_width == 0 or block.router != "sigmoid":
        raise DoesNotFit
    if block.d_latent is not None and block.latent_bias != block.shared_bias:
        raise DoesNotFit
    return {
        "n_routed_experts": block.n_routed,
        "moe_intermediate_size": block.d_expert,
        "moe_latent_size": block.d_latent,
        "moe_shared_expert_intermediate_size": block.shared_width,
        "mlp_bias": block.shared_bias,
        "mlp_hidden_act": hidden_act(block.activation),
        **sigmoid_router_fields(block),
    }
