"""Granite 4 hybrids: Mamba-2 or attention, a shared network beside experts or alone, and four multipliers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, Mamba2, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import NO_ROPE, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.layer_types import FULL, RECURRENT, layer_types
from harmony_core.interop.hf.parts.mamba2 import hybrid_mamba2, hybrid_mamba2_fields, mamba2_weights
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp
from harmony_core.interop.hf.parts.moe import as_moe, balancing, balancing_fields, expert_weights, router_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters
from harmony_core.interop.hf.weights import Weight, same


class GraniteMoeHybrid(Layered):
    """`GraniteMoeHybridForCausalLM`."""

    model_type = "granitemoehybrid"
    model_class = "GraniteMoeHybridForCausalLM"
    cache_needs_attention = True
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"normalization_function": ("rmsnorm",)}

    @override
    def head(self, fields: Fields) -> dict[str, Any]:
        return {
            **super().head(fields),
            "embedding_multiplier": fields.number("embedding_multiplier"),
            "residual_multiplier": fields.number("residual_multiplier"),
            "logits_divisor": fields.number("logits_scaling"),
        }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        bias, positions = fields.flag("attention_bias"), fields.get("position_embedding_type")
        # Any other word, "nope" among them, means no positions, and then nothing reads rope_parameters.
        fields.get("rope_parameters")
        turning = rope(fields) if positions == "rope" else NO_ROPE
        scale = fields.number("attention_multiplier")
        heads = attention(fields, bias=bias, out_bias=bias, scale=scale, **turning)
        kinds = {FULL: heads, RECURRENT: hybrid_mamba2(fields)}
        return [kinds[kind] for kind in layer_types(fields, "layer_types", FULL, RECURRENT)]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        # One field names the activation of experts, of the shared network and of Mamba's convolution.
        activation, experts = fields.choice("hidden_act", ONLY_SILU), fields.integer("num_local_experts", least=0)
        shared, length = fields.integer("shared_intermediate_size"), fields.integer("num_hidden_layers")
        mixture = {
            "n_routed": experts,
            "top_k": fields.get("num_experts_per_tok"),
            "d_expert": fields.get("intermediate_size"),
            "n_shared": 1,
            "d_shared": shared,
            "activation": activation,
            **balancing(fields),
        }
        if experts == 0:
            return [MLP.parse({"d_ff": shared, "activation": activation})] * length
        return [MoE.parse(mixture, self.model_type)] * length

    @override
    def fields_of(self, architecture: Architecture) -> dict[str, Any]:
        return {
            **super().fields_of(architecture),
            "embedding_multiplier": architecture.embedding_multiplier,
            "residual_multiplier": architecture.residual_multiplier,
            "logits_scaling": architecture.logits_divisor,
        }

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        attentions = [block for block in mixers if isinstance(block, Attention)]
        mambas = [block for block in mixers if isinstance(block, Mamba2)]
        found: dict[str, Any] = {
            "layer_types": [FULL if isinstance(block, Attention) else RECURRENT for block in mixers]
        }
        # Without a layer of Mamba-2 its fields mean nothing, but have to be possible.
        plain = {"mamba_n_heads": 1, "mamba_d_head": 2 * architecture.d_model}
        found |= hybrid_mamba2_fields(only(mambas), architecture.d_model) if mambas else plain
        if attentions:
            mixer = only(attentions)
            found |= {**attention_fields(mixer), "attention_bias": mixer.bias}
            found["attention_multiplier"] = mixer.scale if mixer.scale is not None else mixer.head_dim**-0.5
            if mixer.rope_base is not None:
                found |= {"position_embedding_type": "rope", "rope_parameters": rope_parameters(mixer)}
        else:
            found |= {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2}
        return {**found, **_channel_fields(only(channels))}

    @override
    def layer_weights(self, block: Block, ours: str, layer: str) -> Iterable[Weight]:
        if isinstance(block, Attention):
            return attention_weights(block, ours, f"{layer}.self_attn")
        if isinstance(block, Mamba2):
            return mamba2_weights(block, ours, f"{layer}.mamba")
        shared = f"{layer}.shared_mlp"
        if isinstance(block, MLP):
            return _shared(f"{ours}.", shared)
        moe = f"{layer}.block_sparse_moe"
        return [
            *router_weights(ours, f"{moe}.router"),
            *expert_weights(ours, f"{moe}.experts"),
            *_shared(f"{ours}.shared_", shared),
        ]


def _shared(ours: str, theirs: str) -> list[Weight]:
    """Gate and up are joined there too, the gate first."""
    return [same(f"{ours}up", f"{theirs}.input_linear.weight"), same(f"{ours}down", f"{theirs}.output_linear.weight")]


def _channel_fields(block: Block) -> dict[str, Any]:
    if isinstance(block, MLP):
        return {"num_local_experts": 0, "shared_intermediate_size": as_mlp(block).d_ff}
    moe = as_moe(block)
    if moe.shared_width == 0:
        raise DoesNotFit
    return {
        "num_local_experts": moe.n_routed,
        "num_experts_per_tok": moe.top_k,
        "intermediate_size": moe.d_expert,
        "shared_intermediate_size": moe.shared_width,
        **balancing_fields(moe),
    }
