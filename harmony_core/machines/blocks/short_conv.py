"""Gated short convolution."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import ShortConv
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices


@prices(ShortConv)
class ShortConvCosts(BlockCosts[ShortConv]):
    """Of `models/short_conv.py`."""

    @override
    def traffic(self, block: ShortConv, d_model: int) -> Traffic:
        projections = d_model + 3 * d_model + d_model + d_model
        gates, convolution = 3 * d_model + 3 * d_model, 2 * d_model
        return Traffic(projections + gates + convolution, 5)

    @override
    def work(self, block: ShortConv, shape: Shape, train: bool) -> tuple[Work, Work]:
        return {
            "product": 2.0 * 4 * shape.d_model**2,
            "convolution_product": block.convolution_flops_per_token(shape.d_model),
            "convolution_element": self.elements(block, shape),
        }, {"kernel": 12.5 + 4 / 3 * block.kernel_size}

    @override
    def kept_memory(self, block: ShortConv, shape: Shape) -> KeptMemory:
        # B, C and x, the convolved product, and the gated one; in backward the gradient of B, C and x.
        width = shape.d_model
        return KeptMemory(5 * width, working_typed=3 * width)
