"""Bamba: Mamba-2, attention with partial rotary positions in some layers, SwiGLU in every layer."""

from __future__ import annotations

from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import MLP, Architecture, Attention, Block, Mamba2
from harmony_core.interop.hf.family import Layered, WeightTable, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.attention import attention, attention_fields, attention_weights
from harmony_core.interop.hf.parts.mamba2 import hybrid_mamba2, hybrid_mamba2_fields, mamba2_weights
from harmony_core.interop.hf.parts.mlp import ONLY_SILU, as_mlp, mlp_weights
from harmony_core.interop.hf.parts.rope import rope, rope_parameters


class Bamba(Layered):
    """`BambaForCausalLM`."""

    model_type = "bamba"
    model_class = "BambaForCausalLM"
    cache_needs_attention = True
    # What generation and validation of the configuration ask for.
    harmless: ClassVar[tuple[str, ...]] = (
        "num_logits_to_keep",
        "ignore_keys_at_rope_validation",
    )
    training_only: ClassVar[tuple[str, ...]] = ("attention_dropout",)
    # A loss on the size of the logits; training here has none.
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"z_loss_coefficient": (0.0, 0, None)}
    norms = ("input_layernorm", "pre_ff_layernorm")
    final_norm = "model.final_layernorm.weight"
    weight_table: ClassVar[WeightTable] = {
        Attention: ("self_attn", attention_weights),
        Mamba2: ("mamba", mamba2_weights),
        MLP: ("feed_forward", mlp_weights),
    }

    @override
    def mixers(self, fields: Fields) -> list[Block]:
        bias, indices = fields.flag("attention_bias"), fields.get("attn_layer_indices") or ()
        heads = attention(fields, bias=bias, out_bias=bias, **rope(fields, partial=True))
        state_space = hybrid_mamba2(fields)
        return [heads if index in indices else state_space for index in range(fields.integer("num_hidden_layers"))]

    @override
    def channels(self, fields: Fields) -> list[Block]:
        # One field names the activation of the network and of Mamba's convolution.
        activation, bias = fields.choice("hidden_act", ONLY_SILU), fields.flag("mlp_bias")
        block = MLP.parse({"d_ff": fields.integer("intermediate_size"), "activation": activation, "bias": bias})
        return [block] * fields.integer("num_hidden_layers")

    @override
    def layer_fields(self, architecture: Architecture, mixers: list[Block], channels: list[Block]) -> dict[str, Any]:
        attentions = {index: block for index, block in enumerate(mixers) if isinstance(block, Attention)}
        channel = as_mlp(only(channels))
        mambas = [block for block in mixers if isinstance(block, Mamba2)]
        # Fields of a kind of layer that is not there mean nothing, but have to be possible.
        found: dict[str, Any] = {"mamba_n_heads": 1, "mamba_d_head": 2 * architecture.d_model}
        found = hybrid_mamba2_fields(only(mambas), architecture.d_model) if mambas else found
        found |= {"intermediate_size": channel.d_ff, "mlp_bias": channel.bias, "attn_layer_indices": [*attentions]}
        if not attentions:
            return {**found, "num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4}
        mixer = only(attentions.values())
        parameters = rope_parameters(mixer)
        parameters.setdefault("partial_rotary_factor", 1.0)
        return {
            **found,
            **attention_fields(mixer),
            "attention_bias": mixer.bias,
            "rope_parameters": parameters,
        }
