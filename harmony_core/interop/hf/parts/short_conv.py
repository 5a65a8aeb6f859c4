"""LFM2's gated short convolution: fields, block and tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from harmony_core.architecture import ShortConv
from harmony_core.interop.hf.fields import Fields
from harmony_core.interop.hf.weights import CONVOLUTION, Part, Weight, same


def short_conv(fields: Fields) -> ShortConv:
    """The block."""
    return ShortConv(kernel_size=fields.integer("conv_L_cache"), bias=fields.flag("conv_bias"))


def short_conv_fields(block: ShortConv) -> dict[str, Any]:
    """The other way round."""
    return {"conv_L_cache": block.kernel_size, "conv_bias": block.bias}


def short_conv_weights(block: ShortConv, ours: str, theirs: str) -> Iterator[Weight]:
    """Both projections and the taps, as they are; biases of all three. Arguments as for `attention_weights`."""
    yield same(f"{ours}.in_proj", f"{theirs}.in_proj.weight")
    yield Weight(f"{ours}.conv", (Part(f"{theirs}.conv.weight", None, CONVOLUTION),))
    yield same(f"{ours}.out", f"{theirs}.out_proj.weight")
    if block.bias:
        for name, their_name in (("in_bias", "in_proj"), ("conv_bias", "conv"), ("out_bias", "out_proj")):
            yield same(f"{ours}.{name}", f"{theirs}.{their_name}.bias")
