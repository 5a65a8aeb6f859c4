"""Hyena-LI, whose filter is a sum of exponentials."""

from __future__ import annotations

from dataclasses import replace

from typing_extensions import override

from harmony_core.architecture import HyenaLI
from harmony_core.machines.blocks.costs import KeptMemory, Shape, Traffic, prices
from harmony_core.machines.blocks.hyena import HyenaCosts


@prices(HyenaLI)
class HyenaLICosts(HyenaCosts[HyenaLI]):
    """Of `models/hyena_li.py`."""

    unit = "modal_product"
    kernels = 40.0

    @override
    def traffic(self, block: HyenaLI, d_model: int) -> Traffic:
        inner = super().traffic(block, d_model)
        # Each chunk writes the state that enters it once and reads it twice: to pass it on, and to use it.
        return Traffic(inner.elements + 3 * d_model * block.state_size // block.chunk_size, inner.kernels + 3)

    @override
    def kept_memory(self, block: HyenaLI, shape: Shape) -> KeptMemory:
        inner, width = super().kept_memory(block, shape), shape.d_model
        states = width * block.state_size / block.chunk_size
        # Powers of the poles, with residues, and in the other order.
        once = 3 * width * block.state_size * (block.chunk_size + 1)
        return replace(inner, fp32=inner.fp32 + states, once=once)
