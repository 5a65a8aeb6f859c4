"""Kimi Delta Attention."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import KDA
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.delta import DeltaRule


@prices(KDA)
class KDACosts(BlockCosts[KDA]):
    """Of `models/kda.py`."""

    @override
    def traffic(self, block: KDA, d_model: int) -> Traffic:
        inner, narrow = block.width, 2 * block.rank + block.num_heads
        projections = d_model + 3 * inner + narrow + inner + d_model
        # Up from the narrow ones; a softplus and a factor of the decays.
        gates = 2 * block.rank + 2 * inner + 4 * inner
        lengths, norm_and_gate = 4 * inner, 3 * inner
        return Traffic(projections + 6 * inner + gates + lengths + _rule(block).moved() + norm_and_gate, 55)

    @override
    def work(self, block: KDA, shape: Shape, train: bool) -> tuple[Work, Work]:
        inner, rank = block.width, block.rank
        projections = shape.d_model * (4 * inner + 2 * rank + block.num_heads) + 2 * rank * inner
        return {
            "product": 2.0 * projections,
            "exponential": float(3 * inner + 2 * inner + block.num_heads),
            **_rule(block).work(shape),
            "scan_element": self.elements(block, shape),
        }, {"kernel": _rule(block).kernels(shape) + 38.0}

    @override
    def kept_memory(self, block: KDA, shape: Shape) -> KeptMemory:
        inner, heads, half = block.width, block.num_heads, shape.typed_bytes < 4
        # The convolution keeps its input (a view of the projection where that is fp32) and its output before SiLU.
        projection = 0 if half else 3 * inner + 2 * block.rank + heads
        convolved = 3 * inner * (1 + half)
        # Queries and keys of length one, and their lengths.
        lengths = 2 * inner + 2 * heads
        # Step sizes before and behind the softplus, and decays.
        decays = 3 * inner
        small = (2 + half + block.negative_eigenvalues) * heads
        rule = _rule(block)
        # The gate, and what it made of the outputs.
        typed = projection + 2 * block.rank + 3 * inner + inner + inner
        fp32 = convolved + lengths + decays + small + rule.kept(shape)
        return KeptMemory(typed, fp32, working_fp32=3 * inner + rule.working(shape))


def _rule(block: KDA) -> DeltaRule:
    return DeltaRule(
        num_heads=block.num_heads,
        num_key_heads=block.num_heads,
        keys=block.head_dim,
        values=block.head_dim,
        chunk_size=block.chunk_size,
        by_channel=True,
    )
