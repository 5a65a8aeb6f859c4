"""The dense channel mixer."""

from __future__ import annotations

from typing_extensions import override

from harmony_core.architecture import MLP
from harmony_core.architecture.mlp import num_matrices
from harmony_core.machines.blocks.costs import BlockCosts, KeptMemory, Shape, Traffic, Work, prices
from harmony_core.machines.blocks.feed_forward import exponentials, kept_and_made


@prices(MLP)
class MLPCosts(BlockCosts[MLP]):
    """Of `models/mlp.py`."""

    @override
    def traffic(self, block: MLP, d_model: int) -> Traffic:
        matrices = num_matrices(block.activation)
        return Traffic(2 * d_model + 2 * matrices * block.d_ff, matrices + 1)

    @override
    def work(self, block: MLP, shape: Shape, train: bool) -> tuple[Work, Work]:
        return {
            "product": 2.0 * block.num_params(shape.d_model),
            "exponential": exponentials(block.d_ff, block.activation),
            "feed_forward_element": self.elements(block, shape),
        }, {"kernel": 12.0}

    @override
    def kept_memory(self, block: MLP, shape: Shape) -> KeptMemory:
        kept, made = kept_and_made(block.d_ff, block.activation, shape)
        return KeptMemory(kept, working_typed=made)
