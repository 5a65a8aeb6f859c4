"""Mamba-2 as five families have it: step-size limits, the fields of the hybrids, tensors.

All run the gated RMSNorm over each of the `n_groups` groups, as `Mamba2` does by default. All clamp step
sizes to their limits in the parallel form and forget to in the recurrent one; here both are clamped.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from harmony_core.architecture import Block, Mamba2
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.mamba import convolution_weights
from harmony_core.interop.hf.weights import Weight, same


def mamba2(fields: Fields, names: dict[str, str], **options: Any) -> Mamba2:
    """The block.

    Args:
        fields: of the family's configuration.
        names: what the family calls our fields.
        options: other fields of `Mamba2`.
    """
    values: dict[str, Any] = {name: fields.flag(names[name]) for name in ("bias", "conv_bias")}
    values |= {name: fields.integer(names[name]) for name in names if name not in values}
    return Mamba2(**values, **options)


def dt_limit(fields: Fields, name: str = "time_step_limit") -> tuple[float, float | None]:
    """Two numbers, the second of which may be infinite."""
    value = fields.get(name)
    if not isinstance(value, tuple | list) or len(value) != 2 or not all(isinstance(x, int | float) for x in value):
        raise fields.error(name, "use two numbers, such as (0.0, inf)")
    return float(value[0]), None if value[1] == math.inf else float(value[1])


def mamba2_fields(block: Block, names: dict[str, str]) -> dict[str, Any]:
    """The other way round, without the limits."""
    if not isinstance(block, Mamba2) or block.norm_groups not in (None, block.n_groups):
        raise DoesNotFit
    return {theirs: getattr(block, ours) for ours, theirs in names.items()}


def time_step_limit(block: Mamba2) -> tuple[float, float]:
    """`dt_limit` as the families write it."""
    low, high = block.dt_limit
    return low, math.inf if high is None else high


HYBRID_NAMES = {
    "d_state": "mamba_d_state",
    "n_groups": "mamba_n_groups",
    "d_conv": "mamba_d_conv",
    "expand": "mamba_expand",
    "head_dim": "mamba_d_head",
    "chunk_size": "mamba_chunk_size",
    "bias": "mamba_proj_bias",
    "conv_bias": "mamba_conv_bias",
}


def hybrid_mamba2(fields: Fields) -> Block:
    """Bamba's and Granite's block, with heads given by number and by width."""
    block = mamba2(fields, HYBRID_NAMES, dt_limit=dt_limit(fields))
    check_heads(fields, "mamba_n_heads", block)
    return block


def hybrid_mamba2_fields(block: Block, d_model: int) -> dict[str, Any]:
    """The other way round."""
    found = mamba2_fields(block, HYBRID_NAMES)
    assert isinstance(block, Mamba2)
    return {
        **found,
        "mamba_expand": expansion(block, d_model),
        "mamba_n_heads": block.num_heads(d_model),
        "time_step_limit": time_step_limit(block),
    }


def expansion(block: Mamba2, d_model: int) -> int:
    """The whole number of times that the inner width is the model's."""
    if block.d_inner(d_model) % d_model:
        raise DoesNotFit
    return block.d_inner(d_model) // d_model


def check_heads(fields: Fields, name: str, block: Mamba2) -> None:
    """Refuses a number of heads that is not inner width / head width.

    Args:
        fields: of the family's configuration.
        name: of the field with the number of heads.
        block: gives inner width and head width.

    Raises:
        UserError: it is another number.
    """
    width = fields.integer("hidden_size")
    fields.require(name, (block.num_heads(width),), f"use inner width / head width, {block.num_heads(width)}")


def mamba2_weights(block: Mamba2, ours: str, theirs: str) -> Iterator[Weight]:
    """In both, the projection gives the gate, the convolution's input (x, B, C) and dt.

    Arguments as for `attention_weights`.
    """
    names = {"in_proj": "in_proj.weight", "dt_bias": "dt_bias", "a_log": "A_log", "skip": "D"}
    names |= {"out": "out_proj.weight"} | ({} if block.norm == "none" else {"norm.weight": "norm.weight"})
    if block.bias:
        names |= {"in_bias": "in_proj.bias", "out_bias": "out_proj.bias"}
    yield from (same(f"{ours}.{mine}", f"{theirs}.{other}") for mine, other in names.items())
    yield from convolution_weights(ours, theirs, block.conv_bias)
