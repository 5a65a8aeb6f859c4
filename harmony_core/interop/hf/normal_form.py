"""Whether two architectures compute the same: one spelling for what a block has several of."""

from __future__ import annotations

import math
from typing import Any

from harmony_core.architecture import (
    KDA,
    MLA,
    Architecture,
    Attention,
    Block,
    GatedDeltaNet,
    Mamba,
    Mamba2,
    MoE,
    Parallel,
    RopeScaling,
)


def normal_form(architecture: Architecture) -> dict[str, Any]:
    """What the architecture computes, as a value to compare; how it is trained is left out."""
    head = architecture.model_dump(exclude={"blocks"})
    # A family may give its inverse.
    head["logits_divisor"] = _digits(architecture.logits_divisor)
    blocks = [_block(block, architecture) for block in architecture.canonical().blocks]
    return {**head, "blocks": blocks}


def _block(block: Block, architecture: Architecture) -> dict[str, Any]:
    values = {"kind": block.kind, **block.model_dump()}
    d_model = architecture.d_model
    if isinstance(block, Attention | MLA):
        values["scale"] = _factor(block.scale, block.head_dim if isinstance(block, Attention) else block.qk_head_dim)
        if block.rope_base is not None:
            # Twelve digits: a power of a base and back may differ in the last one.
            values["rope_base"] = float(f"{block.rope_base:.12g}")
        if block.rope_scaling is not None:
            values["rope_scaling"] = _scaling(block.rope_scaling)
    if isinstance(block, MLA) and block.latent_epsilon is None:
        values["latent_epsilon"] = architecture.norm_epsilon
    if isinstance(block, GatedDeltaNet | KDA):
        # No result depends on how many tokens are one product.
        values["chunk_size"] = None
    if isinstance(block, GatedDeltaNet) and block.out_norm_epsilon is None:
        values["out_norm_epsilon"] = architecture.norm_epsilon
    if isinstance(block, KDA):
        values["gate_rank"] = block.rank
    if isinstance(block, Mamba):
        values["dt_rank"] = block.rank(d_model)
    if isinstance(block, Mamba2):
        groups = block.n_groups if block.norm_groups is None else block.norm_groups
        groups = 0 if block.norm == "none" else groups
        values |= {"inner_width": block.d_inner(d_model), "expand": None, "norm_groups": groups}
    if isinstance(block, Parallel):
        values |= {"attention": _block(block.attention, architecture), "ssm": _block(block.ssm, architecture)}
    return {**values, **_experts(block)} if isinstance(block, MoE) else values


def _factor(scale: float | None, width: int) -> float:
    return _digits(1 / math.sqrt(width) if scale is None else scale)


def _digits(value: float) -> float:
    # Twelve digits count: x ** -0.5 and 1 / sqrt(x) may differ in the last one.
    return float(f"{value:.12g}")


def _scaling(scaling: RopeScaling) -> dict[str, Any]:
    """With the vectors' factor written out, which is all that LongRoPE reads of its own."""
    values = {**scaling.model_dump(), "attention_factor": float(f"{scaling.vector_factor:.12g}")}
    return {**values, "factor": None} if scaling.method == "longrope" else values


def _experts(block: MoE) -> dict[str, Any]:
    """Shared experts by their width; groups only where they limit; sigmoids always with a bias, which may be zero."""
    limited = block.top_groups < block.n_groups
    biased = block.router == "sigmoid" or block.balancing == "bias"
    return {
        "n_shared": int(block.shared_width > 0),
        "d_shared": block.shared_width,
        "n_groups": block.n_groups if limited else 1,
        "top_groups": block.top_groups if limited else 1,
        "group_score": block.group_score if limited else None,
        "balancing": "bias" if biased else None,
        "aux_coefficient": None,
        "bias_update_rate": None,
    }
