"""Gated DeltaNet and Kimi Delta Attention: fields, blocks and tensors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture import KDA, Block, GatedDeltaNet
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.weights import CONVOLUTION, Part, Reordering, Weight, same

_NAMES = {
    "num_key_heads": "linear_num_key_heads",
    "num_value_heads": "linear_num_value_heads",
    "key_head_dim": "linear_key_head_dim",
    "value_head_dim": "linear_value_head_dim",
    "d_conv": "linear_conv_kernel_dim",
}


def gated_deltanet(fields: Fields, **options: Any) -> Block:
    """The block; `options` are those that the family has beside heads, widths and taps."""
    shape = {ours: fields.integer(theirs) for ours, theirs in _NAMES.items()}
    return GatedDeltaNet.parse({**shape, **options}, fields.model_type)


def gated_deltanet_fields(block: GatedDeltaNet) -> dict[str, Any]:
    """The other way round."""
    return {theirs: getattr(block, ours) for ours, theirs in _NAMES.items()}


def by_key_heads(groups: int, widths: tuple[int, ...]) -> Reordering:
    """From rows of a key head side by side, so many of each kind, to all rows of a kind side by side."""

    def to_ours(w: Tensor) -> Tensor:
        parts = w.unflatten(0, (groups, -1)).split(widths, 1)
        return torch.cat([part.flatten(0, 1) for part in parts])

    def to_theirs(w: Tensor) -> Tensor:
        parts = w.split([groups * width for width in widths])
        return torch.cat([part.unflatten(0, (groups, -1)) for part in parts], 1).flatten(0, 1)

    return Reordering(to_ours, to_theirs)


def fused_gated_deltanet_weights(block: GatedDeltaNet, ours: str, theirs: str) -> Iterator[Weight]:
    """Queries, keys, values and gates in one projection, strengths and decays in another, by key head each.

    Arguments as for `attention_weights`.
    """
    groups, repeats = block.num_key_heads, block.num_value_heads // block.num_key_heads
    values = repeats * block.value_head_dim
    projected = by_key_heads(groups, (block.key_head_dim, block.key_head_dim, values, values))
    parts = (
        Part(f"{theirs}.in_proj_qkvz.weight", block.conv_width + block.value_width, projected),
        Part(f"{theirs}.in_proj_ba.weight", 2 * block.num_value_heads, by_key_heads(groups, (repeats, repeats))),
    )
    yield Weight(f"{ours}.in_proj", parts)
    yield from _rest(ours, theirs, f"{theirs}.norm.weight", f"{theirs}.out_proj.weight")


def gated_deltanet_weights(
    block: GatedDeltaNet, ours: str, theirs: str, parts: Iterable[tuple[str, int]], norm: str, out: str
) -> Iterator[Weight]:
    """Its projections in as so many tensors, and the rest.

    Args:
        block: its configuration.
        ours: how its keys begin here.
        theirs: how they begin there.
        parts: the tensors of the projections in, by name, with the rows of each.
        norm: what the family calls the norm.
        out: what it calls the projection out.
    """
    yield Weight(f"{ours}.in_proj", tuple(Part(f"{theirs}.{name}.weight", rows) for name, rows in parts))
    yield from _rest(ours, theirs, f"{theirs}.{norm}.weight", f"{theirs}.{out}.weight")


def kda(fields: Fields) -> Block:
    """The block."""
    names = {"num_heads": "linear_num_heads", "head_dim": "linear_head_dim", "d_conv": "linear_conv_kernel_dim"}
    return KDA.parse({ours: fields.integer(theirs) for ours, theirs in names.items()}, fields.model_type)


def kda_fields(block: KDA) -> dict[str, Any]:
    """The other way round."""
    if block.rank != block.head_dim or block.negative_eigenvalues:
        raise DoesNotFit
    return {
        "linear_num_heads": block.num_heads,
        "linear_head_dim": block.head_dim,
        "linear_conv_kernel_dim": block.d_conv,
    }


def kda_weights(block: KDA, ours: str, theirs: str) -> Iterator[Weight]:
    """Projections to queries, keys, values, both narrow ones and strengths, one below the other.

    Arguments as for `attention_weights`.
    """
    inner, rank = block.width, block.rank
    rows = {"q_proj": inner, "k_proj": inner, "v_proj": inner, "forget_gate.f_a_proj": rank, "g_a_proj": rank}
    rows |= {"b_proj": block.num_heads}
    yield Weight(f"{ours}.in_proj", tuple(Part(f"{theirs}.{name}.weight", count) for name, count in rows.items()))
    yield same(f"{ours}.decay_up", f"{theirs}.forget_gate.f_b_proj.weight")
    yield same(f"{ours}.gate_up", f"{theirs}.g_b_proj.weight")
    flat = Reordering(lambda w: w.flatten(), lambda w: w.view(1, 1, -1, 1))
    yield Weight(f"{ours}.a_log", (Part(f"{theirs}.forget_gate.A_log", None, flat),))
    yield same(f"{ours}.dt_bias", f"{theirs}.forget_gate.dt_bias")
    yield Weight(f"{ours}.conv", (Part(f"{theirs}.conv1d.weight", None, CONVOLUTION),))
    yield same(f"{ours}.norm.weight", f"{theirs}.o_norm.weight")
    yield same(f"{ours}.out", f"{theirs}.o_proj.weight")


def _rest(ours: str, theirs: str, norm: str, out: str) -> Iterator[Weight]:
    """What Gated DeltaNets have beside their projections in."""
    yield Weight(f"{ours}.conv", (Part(f"{theirs}.conv1d.weight", None, CONVOLUTION),))
    yield same(f"{ours}.dt_bias", f"{theirs}.dt_bias")
    yield same(f"{ours}.a_log", f"{theirs}.A_log")
    yield same(f"{ours}.norm.weight", norm)
    yield same(f"{ours}.out", out)
