"""gpt-oss: attention with sinks, windows in turn, and experts of a clamped SwiGLU with biases everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import SWA, Architecture, Attention, Block, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import (
    as_attention,
    attention,
    attention_fields,
    attention_weights,
    window_of,
)
from harmony_core.interop.hf.parts.layer_types import FULL, SLIDING, layer_types
from harmony_core.interop.hf.parts.moe import as_moe, balancing, balancing_fields
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Part, Reordering, Weight, same


def _gates_first(w: Tensor) -> Tensor:
    """[E, 2F, ..] with a gate before each up to all gates before all ups."""
    return torch.cat((w[:, ::2], w[:, 1::2]), 1)


def _gates_between(w: Tensor) -> Tensor:
    """The other way round."""
    return torch.stack(tuple(w.chunk(2, 1)), 2).flatten(1, 2)


_TRANSPOSED = Reordering(lambda w: w.mT, lambda w: w.mT)
_UP = Reordering(lambda w: _gates_first(w.mT), lambda w: _gates_between(w).mT)
_UP_BIAS = Reordering(_gates_first, _gates_between)


def _expert_weights(block: MoE, ours: str, theirs: str) -> Iterator[Weight]:
    """Experts are stored by input there, and each gate beside its up."""
    yield same(f"{ours}.router.weight", f"{theirs}.router.weight")
    yield same(f"{ours}.router.logit_bias", f"{theirs}.router.bias")
    yield Weight(f"{ours}.up", (Part(f"{theirs}.experts.gate_up_proj", None, _UP),))
    yield Weight(f"{ours}.up_bias", (Part(f"{theirs}.experts.gate_up_proj_bias", None, _UP_BIAS),))
    yield Weight(f"{ours}.down", (Part(f"{theirs}.experts.down_proj", None, _TRANSPOSED),))
    yield same(f"{ours}.down_bias", f"{theirs}.experts.down_proj_bias")


class GptOss(Layered):
    """`GptOssForCausalLM`."""

    model_type = "gpt_oss"
    model_class = "GptOssForCausalLM"
    # Never read by the modeling code: experts have an activation of their own.
    harmless: ClassVar[tuple[str, ...]] = ("hidden_act",)
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"swiglu_alpha": (1.702,), "swiglu_limit": (7, 7.0)}
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        MoE: ("mlp", _expert_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        bias = fields.flag("attention_bias")
        options = {"bias": bias, "out_bias": bias, "sinks": True, **rope(fields)}
        types = layer_types(fields, "layer_types", FULL, SLIDING)
        seen = window_of(fields, types)
        kinds = {FULL: attention(fields, **options)}
        if SLIDING in types:
            kinds[SLIDING] = attention(fields, window=seen, **options)
        return [kinds[kind] for kind in types]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        mixture = {
            "n_routed": fields.integer("num_local_experts"),
            "top_k": fields.integer("num_experts_per_tok"),
            "d_expert": fields.integer("intermediate_size"),
            "activation": "clamped_swiglu",
            "expert_bias": True,
            "router_bias": True,
            **balancing(fields),
        }
        return [MoE.parse(mixture, self.model_type).canonical()] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        heads = [as_attention(block) for block in mixers]
        windows = [block.window for block in mixers if isinstance(block, SWA)]
        assert only(repr((attention_fields(block), block.bias, rope_parameters(block))) for block in heads)
        moe = as_moe(only(channels))
        if moe.activation != "clamped_swiglu" or moe.router != "softmax":
            raise DoesNotFit
        return {
            **attention_fields(heads[0]),
            "attention_bias": heads[0].bias,
            "rope_parameters": rope_parameters(heads[0]),
            "layer_types": [SLIDING if isinstance(block, SWA) else FULL for block in mixers],
            "sliding_window": only(windows) if windows else None,
            "num_local_experts": moe.n_routed,
            "num_experts_per_tok": moe.top_k,
            "intermediate_size": moe.d_expert,
            **balancing_fields(moe),
        }
