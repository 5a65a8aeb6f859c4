"""Mamba-1."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import Mamba
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices


@prices(Mamba)
class MambaCosts(BlockCosts[Mamba]):
    """Of `models/mamba.py`."""

    @override
    def traffic(self, block: Mamba, d_model: int) -> Traffic:
        inner, rank = block.d_inner(d_model), block.rank(d_model)
        projections = d_model + 2 * inner + inner + rank + 2 * block.d_state + rank + inner + inner + d_model
        scan = 2 * inner + 2 * block.d_state + inner
        return Traffic(projections + 2 * inner + scan + 3 * inner, 9 + 3 * block.inner_norms)

    @override
    def work(self, block: Mamba, shape: Shape, train: bool) -> tuple[Work, Work]:
        flops = block.flops_per_token(shape.d_model, shape.context, "prefill")
        weights = 2.0 * block.num_params(shape.d_model)
        inner = block.d_inner(shape.d_model)
        # The scan keeps every token's state in memory: each is an element, as the decays between a chunk's tokens are.
        return {
            "product": weights,
            "exponential": 3.0 * inner,
            "scan_product": max(0.0, flops - weights),
            "scan_decay": float(inner * block.d_state),
            "scan_element": self.elements(block, shape),
        }, {"kernel": 60.0}

    @override
    def kept_memory(self, block: Mamba, shape: Shape) -> KeptMemory:
        inner, rank = block.d_inner(shape.d_model), block.rank(shape.d_model)
        selected = rank + 2 * block.d_state
        typed = 2 * inner + inner + selected + rank + inner + inner + inner
        return KeptMemory(typed, inner + 3 * inner, working_fp32=6 * inner)
