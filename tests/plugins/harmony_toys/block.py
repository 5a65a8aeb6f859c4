"""A token mixer: the mean of all that came before, between two projections."""

from __future__ import annotations

from typing import ClassVar

from harmony_core.architecture import Block, Mode
from harmony_core.architecture.block import register
from harmony_core.machines.blocks import BlockCosts, KeptMemory, Shape, Traffic, Work, prices


@register
class RunningMean(Block):
    """y_t = W_out mean(W_in x_1, ..., W_in x_t).

    Args:
        width: elements that are averaged.
    """

    kind: ClassVar[str] = "running_mean"
    role: ClassVar[str] = "mixer"
    implementation: ClassVar[str] = "harmony_toys.model"
    width: int = 32

    def num_params(self, d_model: int) -> int:
        """Two matrices."""
        return 2 * d_model * self.width

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        """Of the two products."""
        return 2.0 * self.num_params(d_model)

    def state_elements(self, d_model: int) -> int:
        """The sum of what came before."""
        return self.width

    def context_problem(self, d_model: int, ranks: int) -> str | None:
        """As `Block.context_problem`."""
        return "sums over all that came before; use cp 1"

    def documents_problem(self) -> str | None:
        """As `Block.documents_problem`."""
        return "sums over all that came before; use no recipe.document_boundaries"


@prices(RunningMean)
class RunningMeanCosts(BlockCosts[RunningMean]):
    """Of `harmony_toys.model`."""

    def traffic(self, block: RunningMean, d_model: int) -> Traffic:
        """Input, output, and what lies between."""
        return Traffic(2 * d_model + 4 * block.width, 4)

    def work(self, block: RunningMean, shape: Shape, train: bool) -> tuple[Work, Work]:
        """Two products and a pass over the sums."""
        per_token = {
            "product": 2.0 * block.num_params(shape.d_model),
            "scan_element": self.elements(block, shape),
        }
        return per_token, {"kernel": 8.0}

    def kept_memory(self, block: RunningMean, shape: Shape) -> KeptMemory:
        """The projected tokens and their means."""
        return KeptMemory(2 * block.width)
