"""Attention over grouped heads: fields, block and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture import GQA, SWA, Attention, Block
from harmony_core.architecture.rope import rotary_width
from harmony_core.interop.hf.family import DoesNotFit
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.parts.layer_types import SLIDING
from harmony_core.interop.hf.weights import SAME, Part, Reordering, Weight, rotary, same, scaled

NO_ROPE: dict[str, Any] = {"rope_base": None}


def attention(fields: Fields, *, window: int | None = None, **options: Any) -> Block:
    """The block.

    Args:
        fields: of the family's configuration.
        window: tokens that a query sees; None is all.
        options: those of `Attention` that the family has.
    """
    if window is None:
        return grouped_attention(fields, **options).canonical()
    return SWA(window=window, **{**_shape(fields), **options})


def grouped_attention(fields: Fields, **options: Any) -> GQA:
    """The same without a window, whatever the number of key/value heads."""
    return GQA(**{**_shape(fields), **options})


def _shape(fields: Fields) -> dict[str, Any]:
    heads = fields.integer("num_attention_heads")
    kv_heads = fields.integer("num_key_value_heads", default=heads)
    return {"num_heads": heads, "num_kv_heads": kv_heads, "head_dim": head_dim(fields)}


def head_dim(fields: Fields) -> int:
    """`head_dim`, or hidden_size // num_attention_heads where there is none."""
    return fields.integer("head_dim", default=fields.integer("hidden_size") // fields.integer("num_attention_heads"))


def window(fields: Fields) -> int | None:
    """`sliding_window`, in which the token itself counts."""
    return None if fields.get("sliding_window") is None else fields.integer("sliding_window")


def window_of(fields: Fields, types: list[str]) -> int | None:
    """`window`, which there must be where a layer's type asks for one."""
    if SLIDING in types and fields.get("sliding_window") is None:
        raise fields.error("sliding_window", f"layer_types has {SLIDING}: use a whole number from 1")
    return window(fields)


def as_attention(block: Block) -> Attention:
    """The block, if it is attention."""
    if not isinstance(block, Attention):
        raise DoesNotFit
    return block


def attention_fields(block: Attention) -> dict[str, Any]:
    """Fields that every family has."""
    return {
        "num_attention_heads": block.num_heads,
        "num_key_value_heads": block.kv_heads,
        "head_dim": block.head_dim,
    }


def gated_queries(num_heads: int, order: Reordering) -> Reordering:
    """From each head's queries and then its gates to all gates and then all queries, which `order` lays out."""

    def to_ours(w: Tensor) -> Tensor:
        queries, gates = (part.flatten(0, 1) for part in w.unflatten(0, (num_heads, 2, -1)).unbind(1))
        return torch.cat((gates, order.to_ours(queries)))

    def to_theirs(w: Tensor) -> Tensor:
        gates, queries = w.chunk(2)
        pair = (order.to_theirs(queries).unflatten(0, (num_heads, -1)), gates.unflatten(0, (num_heads, -1)))
        return torch.stack(pair, 1).flatten(0, 2)

    return Reordering(to_ours, to_theirs)


def attention_weights(
    block: Attention,
    ours: str,
    theirs: str,
    norm: str = "norm",
    out: str = "o_proj",
    whole: bool = False,
    value_scale: float = 1.0,
) -> Iterator[Weight]:
    """Projections to queries, keys and values joined, with their rotary elements in pairs; QK norm; output.

    Args:
        block: the block.
        ours: how its keys begin here.
        theirs: how they begin there.
        norm: how the family ends the norms' names.
        out: what it calls the output's projection.
        whole: whether halves of whole heads turn with each other, also where a part of their elements turns alone.
        value_scale: what it multiplies values with, which is in the projection here.
    """
    width, values, turning = block.head_dim, block.kv_heads * block.value_dim, 0
    if block.rope_base is not None:
        turning = width if whole else rotary_width(block.head_dim, block.rope_fraction)
    order = rotary(width, 0, turning) if turning else SAME
    rows = {"q": block.num_heads * width, "k": block.kv_heads * width, "v": values}
    orders = {"q": order, "k": order, "v": SAME if value_scale == 1 else scaled(value_scale)}
    if block.gate_per_head:
        rows, orders = {"g": block.num_heads, **rows}, {"g": SAME, **orders}
    elif block.output_gate:
        rows["q"], orders["q"] = 2 * rows["q"], gated_queries(block.num_heads, order)
    for name, suffix in [("qkv", "weight"), ("qkv_bias", "bias")] if block.bias else [("qkv", "weight")]:
        parts = (Part(f"{theirs}.{kind}_proj.{suffix}", count, orders[kind]) for kind, count in rows.items())
        yield Weight(f"{ours}.{name}", tuple(parts))
    if block.qk_norm:
        for kind, elements in zip(("q", "k"), block.qk_norm_widths, strict=True):
            # The norm's weight belongs to elements of heads, which the order moves.
            yield Weight(f"{ours}.{kind}_norm.weight", (Part(f"{theirs}.{kind}_{norm}.weight", elements, order),))
    if block.sinks:
        yield same(f"{ours}.sinks", f"{theirs}.sinks")
    yield same(f"{ours}.out", f"{theirs}.{out}.weight")
    if block.out_bias:
        yield same(f"{ours}.out_bias", f"{theirs}.{out}.bias")
