"""A block of the architecture as the residual stream sees it."""

from __future__ import annotations

from torch import Tensor, nn

from harmony_core.architecture import Architecture, Block
from harmony_core.models.block import BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.norm import RMSNorm
from harmony_core.models.registry import module_for


class ResidualBlock(nn.Module):
    """x + multiplier x inner(norm(x))."""

    def __init__(self, config: Block, architecture: Architecture) -> None:
        super().__init__()
        d_model, epsilon = architecture.d_model, architecture.norm_epsilon
        self.norm = RMSNorm(d_model, epsilon)
        self.inner = module_for(config, d_model, epsilon)
        self.multiplier = architecture.residual_multiplier

    def forward(self, x_BTD: Tensor, documents: Documents | None = None) -> tuple[Tensor, Tensor | None]:
        """The residual stream after the block, and its auxiliary loss if it has one."""
        y_BTD, auxiliary = self.inner.forward_with_loss(self.norm(x_BTD), documents)
        return self._add(x_BTD, y_BTD), auxiliary

    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        """`forward` that fills an empty decoding state."""
        return self._add(x_BTD, self.inner.prefill(self.norm(x_BTD), state))

    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """The residual stream of one token.

        Args:
            x_BD: before the block.
            state: of the block, written in place.
            position: the token's, from 0.
        """
        return self._add(x_BD, self.inner.step(self.norm(x_BD), state, position))

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y if self.multiplier == 1.0 else x + y * self.multiplier
