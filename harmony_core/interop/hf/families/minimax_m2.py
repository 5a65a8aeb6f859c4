"""MiniMax-M2: attention with a QK norm over all heads and partly rotated ones, sigmoid experts in every layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import Architecture, Attention, Block, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import as_attention, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.mlp import GATED_ACTIVATIONS, hidden_act
from harmony_core.interop.hf.parts.moe import as_moe, expert_weights, router_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight, same


def _mixture_weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
    yield from router_weights(ours, f"{theirs}.gate")
    # The bias that moves the choice lies beside the router there.
    yield same(f"{ours}.router.bias_E", f"{theirs}.e_score_correction_bias")
    yield from expert_weights(ours, f"{theirs}.experts")


class MiniMaxM2(Layered):
    """`MiniMaxM2ForCausalLM`."""

    model_type = "minimax_m2"
    model_class = "MiniMaxM2ForCausalLM"
    # What rope_parameters are made of; the loss of the routers, which a bias evens here, is of training.
    harmless: ClassVar[tuple[str, ...]] = ("rotary_dim", "output_router_logits", "router_aux_loss_coef")
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout", "router_jitter_noise")
    # The class has these and no others.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {
        "use_qk_norm": (True,),
        "qk_norm_type": ("per_layer",),
        "use_routing_bias": (True,),
        "scoring_func": ("sigmoid",),
        "shared_intermediate_size": (0,),
    }
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MoE: ("mlp", _mixture_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        block = attention(fields, qk_norm=True, qk_norm_joint=True, **rope(fields, partial=True))
        return [block] * fields.integer("num_hidden_layers")

    @override
    def channels(self, fields: Fields) -> list[Block]:
        mixture = {
            "n_routed": fields.integer("num_local_experts"),
            "top_k": fields.integer("num_experts_per_tok"),
            "d_expert": fields.integer("intermediate_size"),
            "activation": fields.choice("hidden_act", GATED_ACTIVATIONS),
            "router": "sigmoid",
            "balancing": "bias",
        }
        return [MoE.parse(mixture, self.model_type)] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        mixer, moe = as_attention(only(mixers)), as_moe(only(channels))
        if mixer.rope_base is None or moe.router != "sigmoid":
            raise DoesNotFit
        return {
            **attention_fields(mixer),
            "rope_parameters": rope_parameters(mixer),
            "num_local_experts": moe.n_routed,
            "num_experts_per_tok": moe.top_k,
            "intermediate_size": moe.d_expert,
            "hidden_act": hidden_act(moe.activation),
        }
