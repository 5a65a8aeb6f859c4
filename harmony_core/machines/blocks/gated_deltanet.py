"""Gated DeltaNet."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import GatedDeltaNet
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.delta import DeltaRule


@prices(GatedDeltaNet)
class GatedDeltaNetCosts(BlockCosts[GatedDeltaNet]):
    """Of `models/gated_deltanet.py`."""

    @override
    def traffic(self, block: GatedDeltaNet, d_model: int) -> Traffic:
        conv, values, heads = block.conv_width, block.value_width, block.num_value_heads
        projections = d_model + conv + values + 2 * heads + values + d_model
        lengths = 4 * block.key_width
        norm_and_gate = 3 * values
        return Traffic(projections + 2 * conv + lengths + _rule(block).moved() + norm_and_gate, 40)

    @override
    def work(self, block: GatedDeltaNet, shape: Shape, train: bool) -> tuple[Work, Work]:
        conv, values, heads = block.conv_width, block.value_width, block.num_value_heads
        projections = shape.d_model * (conv + 2 * values + 2 * heads)
        return {
            "product": 2.0 * projections,
            "exponential": float(conv + values + 2 * heads),
            **_rule(block).work(shape),
            "scan_element": self.elements(block, shape),
        }, {"kernel": _rule(block).kernels(shape) + 29.0}

    @override
    def kept_memory(self, block: GatedDeltaNet, shape: Shape) -> KeptMemory:
        conv, values, heads = block.conv_width, block.value_width, block.num_value_heads
        projection = conv + values + 2 * heads
        # The convolution keeps its input (a view of the projection where that is fp32) and its output before SiLU.
        copy = conv if shape.typed_bytes < 4 else 0
        # Queries and keys of length one, and their lengths.
        lengths = 2 * block.key_width + 2 * block.num_key_heads
        # Strengths, decays, and what their functions keep; a scale a head in the norm.
        small = (6 + (shape.typed_bytes < 4) + block.negative_eigenvalues) * heads
        rule = _rule(block)
        typed = projection + conv + values
        return KeptMemory(
            typed, conv + copy + lengths + small + rule.kept(shape), working_fp32=conv + rule.working(shape)
        )


def _rule(block: GatedDeltaNet) -> DeltaRule:
    return DeltaRule(
        num_heads=block.num_value_heads,
        num_key_heads=block.num_key_heads,
        keys=block.key_head_dim,
        values=block.value_head_dim,
        chunk_size=block.chunk_size,
    )
