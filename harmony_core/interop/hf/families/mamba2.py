"""Mamba-2: one mixer a layer, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from typing_extensions import override

from harmony_core.architecture import Architecture, Block, Mamba2
from harmony_core.interop.hf.families.mamba import MambaFamily
from harmony_core.interop.hf.family import only
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.mamba2 import (
    check_heads,
    dt_limit,
    expansion,
    mamba2,
    mamba2_fields,
    mamba2_weights,
    time_step_limit,
)
from harmony_core.interop.hf.weights import Weight

_NAMES = {
    "d_state": "state_size",
    "n_groups": "n_groups",
    "d_conv": "conv_kernel",
    "expand": "expand",
    "head_dim": "head_dim",
    "chunk_size": "chunk_size",
    "bias": "use_bias",
    "conv_bias": "use_conv_bias",
}


class Mamba2Family(MambaFamily):
    """`Mamba2ForCausalLM`."""

    model_type = "mamba2"
    model_class = "Mamba2ForCausalLM"
    # These set first values of dt and of the output, and the type of the residual stream in lower precision, or nothing
    # reads them.
    harmless: ClassVar[tuple[str, ...]] = (
        "time_step_rank",
        "time_step_min",
        "time_step_max",
        "time_step_floor",
        "rescale_prenorm_residual",
        "residual_in_fp32",
    )

    @override
    def blocks(self, fields: Fields) -> Iterable[Block]:
        fields.choice("hidden_act", {"silu": "silu", "swish": "silu"})
        block = mamba2(fields, _NAMES, dt_limit=dt_limit(fields))
        check_heads(fields, "num_heads", block)
        return [block] * fields.integer("num_hidden_layers")

    @override
    def block_fields(self, architecture: Architecture) -> dict[str, Any]:
        block = only(architecture.blocks)
        found = mamba2_fields(block, _NAMES)
        assert isinstance(block, Mamba2)
        return {
            **found,
            "num_hidden_layers": len(architecture.blocks),
            "expand": expansion(block, architecture.d_model),
            "num_heads": block.num_heads(architecture.d_model),
            "time_step_limit": time_step_limit(block),
        }

    @override
    def block_weights(self, block: Block, ours: str, index: int) -> Iterable[Weight]:
        assert isinstance(block, Mamba2)
        return mamba2_weights(block, ours, f"backbone.layers.{index}.mixer")
