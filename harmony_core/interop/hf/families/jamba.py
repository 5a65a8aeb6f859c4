"""Jamba: Mamba-1 with inner norms, attention without positions in some layers, experts in some."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, Mamba, MoE
from harmony_core.interop.hf.family import DoesNotFit, Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import NO_ROPE, attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.mamba import mamba, mamba_fields, mamba_weights
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp, mlp_weights
from harmony_core.interop.hf.parts.moe import (
    as_moe,
    balancing,
    balancing_fields,
    mixture_weights,
)

_NAMES = {
    "d_state": "mamba_d_state",
    "expand": "mamba_expand",
    "d_conv": "mamba_d_conv",
    "dt_rank": "mamba_dt_rank",
    "bias": "mamba_proj_bias",
    "conv_bias": "mamba_conv_bias",
}


class Jamba(Layered):
    """`JambaForCausalLM`."""

    model_type = "jamba"
    model_class = "JambaForCausalLM"
    cache_needs_attention = True
    # Which scan runs.
    harmless: ClassVar[tuple[str, ...]] = (
        "use_mamba_kernels",
        "use_mambapy",
        "use_associative_scan",
    )
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"sliding_window": (None,), "mamba_inner_layernorms": (True,)}
    norms = ("input_layernorm", "pre_ff_layernorm")
    final_norm = "model.final_layernorm.weight"
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        Mamba: ("mamba", mamba_weights),
        MLP: ("feed_forward", mlp_weights),
        MoE: ("feed_forward", mixture_weights(router="router")),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        period, offset = fields.integer("attn_layer_period"), fields.integer("attn_layer_offset", least=0)
        heads, state_space = attention(fields, **NO_ROPE), mamba(fields, _NAMES, inner_norms=True)
        layers = range(fields.integer("num_hidden_layers"))
        return [heads if index % period == offset else state_space for index in layers]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        period, offset = fields.integer("expert_layer_period"), fields.integer("expert_layer_offset", least=0)
        experts, layers = fields.integer("num_experts"), range(fields.integer("num_hidden_layers"))
        # One field names the activation of experts, of dense networks and of Mamba's convolution.
        width, activation = fields.integer("intermediate_size"), fields.choice("hidden_act", ONLY_SILU)
        mixture = {"n_routed": experts, "top_k": fields.get("num_experts_per_tok"), "d_expert": width}
        mixture |= {"activation": activation, "normalize_top_k": False, **balancing(fields)}
        dense = MLP.parse({"d_ff": width, "activation": activation})
        sparse = [experts > 1 and index % period == offset for index in layers]
        moe = MoE.parse(mixture, self.model_type) if any(sparse) else dense
        return [moe if one else dense for one in sparse]

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        attentions = [block for block in mixers if isinstance(block, Attention)]
        mambas = [block for block in mixers if isinstance(block, Mamba)]
        sparse = [as_moe(block) for block in channels if isinstance(block, MoE)]
        widths = [block.d_expert for block in sparse]
        widths += [as_mlp(block).d_ff for block in channels if not isinstance(block, MoE)]
        found = {"intermediate_size": only(widths), "num_experts": 1, "num_experts_per_tok": 1}
        found |= _pattern("attn", [isinstance(block, Attention) for block in mixers])
        found |= _pattern("expert", [isinstance(block, MoE) for block in channels])
        found |= mamba_fields(only(mambas), _NAMES, architecture.d_model) if mambas else {}
        # Without a layer of attention its fields mean nothing, but have to be possible.
        nothing = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 2}
        found |= attention_fields(only(attentions)) if attentions else nothing
        if sparse:
            moe = only(sparse)
            found |= {"num_experts": moe.n_routed, "num_experts_per_tok": moe.top_k, **balancing_fields(moe)}
        return found


def _pattern(name: str, layers: list[bool]) -> dict[str, int]:
    """The period and the offset of the layers that are of a kind."""
    for period in range(1, len(layers) + 2):
        for offset in range(period):
            if layers == [index % period == offset for index in range(len(layers))]:
                return {f"{name}_layer_period": period, f"{name}_layer_offset": offset}
    raise DoesNotFit
