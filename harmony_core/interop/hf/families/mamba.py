"""Mamba: one mixer a layer, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import Architecture, Block, Mamba
from harmony_core.interop.hf.family import Family, only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.mamba import mamba, mamba_fields, mamba_weights
from harmony_core.interop.hf.weights import Weight

_NAMES = {
    "d_state": "state_size",
    "expand": "expand",
    "d_conv": "conv_kernel",
    "dt_rank": "time_step_rank",
    "bias": "use_bias",
    "conv_bias": "use_conv_bias",
}


class MambaFamily(Family):
    """`MambaForCausalLM`."""

    model_type = "mamba"
    model_class = "MambaForCausalLM"
    # First values of dt and of the output; which scan runs; the type of the residual stream in lower precision.
    harmless: ClassVar[tuple[str, ...]] = (
        "time_step_scale",
        "time_step_min",
        "time_step_max",
        "time_step_init_scheme",
        "time_step_floor",
        "rescale_prenorm_residual",
        "residual_in_fp32",
        "use_mambapy",
        "use_associative_scan",
    )
    fixed: ClassVar[dict[str, tuple[Any, ...]]] = {"rms_norm": (True,)}
    epsilon_field = "layer_norm_epsilon"
    embedding = "backbone.embeddings.weight"
    final_norm = "backbone.norm_f.weight"

    @override
    def blocks(self, fields: Fields) -> Iterable[Block]:
        fields.choice("hidden_act", {"silu": "silu", "swish": "silu"})
        block = mamba(fields, _NAMES, inner_norms=False)
        inner = block.d_inner(fields.integer("hidden_size"))
        fields.require("intermediate_size", (inner,), f"use expand x hidden_size, {inner}")
        return [block] * fields.integer("num_hidden_layers")

    @override
    def block_fields(self, architecture: Architecture) -> dict[str, Any]:
        found = mamba_fields(only(architecture.blocks), _NAMES, architecture.d_model)
        return {**found, "num_hidden_layers": len(architecture.blocks)}

    @override
    def norm_name(self, index: int) -> str:
        return f"backbone.layers.{index}.norm.weight"

    @override
    def block_weights(self, block: Block, ours: str, index: int) -> Iterable[Weight]:
        assert isinstance(block, Mamba)
        return mamba_weights(block, ours, f"backbone.layers.{index}.mixer")
