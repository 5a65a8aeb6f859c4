"""Hyena operators with a weight for each lag."""

from __future__ import annotations

from typing import TypeVar

from typing_extensions import override

from harmony_core.architecture.hyena import GroupedFIR, Hyena
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices

_H = TypeVar("_H", bound=Hyena)


class HyenaCosts(BlockCosts[_H]):
    """Of `models/hyena.py`, whatever the filter."""

    # Kind of work of the long convolution, and operations that a short sequence starts.
    unit = "convolution_product"
    kernels = 25.0

    @override
    def traffic(self, block: _H, d_model: int) -> Traffic:
        projections = d_model + 3 * d_model + d_model + d_model
        short = 2 * 3 * d_model
        gates = 3 * d_model + 3 * d_model
        # In and out, the short convolution, two gates, the convolution.
        return Traffic(projections + short + gates + 2 * d_model, 6)

    @override
    def work(self, block: _H, shape: Shape, train: bool) -> tuple[Work, Work]:
        return {
            "product": 2.0 * 4 * shape.d_model**2,
            self.unit: block.filter_flops_per_token(shape.d_model, shape.context, "prefill"),
            "convolution_element": self.elements(block, shape),
        }, {"kernel": self.kernels}

    @override
    def kept_memory(self, block: _H, shape: Shape) -> KeptMemory:
        width = shape.d_model
        # Under autocast the short convolution keeps an fp32 copy of the projection instead of the projection.
        typed, copy = (7 * width, 0) if shape.typed_bytes == 4 else (4 * width, 3 * width)
        # The projection, the short convolution's output, and y; the long convolution's output.
        return KeptMemory(typed, width + copy, working_fp32=7 * width + copy)


@prices(GroupedFIR)
class GroupedFIRCosts(HyenaCosts[GroupedFIR]):
    """Of `models/hyena_se.py` and `models/hyena_mr.py`."""
