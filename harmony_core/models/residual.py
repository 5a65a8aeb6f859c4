"""A block of the architecture as the residual stream sees it."""

from __future__ import annotations

from torch import Tensor, nn

from harmony_core.architecture import Architecture, Block
from harmony_core.models.block import BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.precision import compute_dtype
from harmony_core.models.registry import module_for


class ResidualBlock(nn.Module):
    """x + multiplier x inner(norm(x)), with a norm of what `inner` gives instead or as well (`Block.norm_position`)."""

    def __init__(self, config: Block, architecture: Architecture) -> None:
        super().__init__()
        d_model, epsilon = architecture.d_model, architecture.norm_epsilon
        self.position = config.norm_position
        # The one of them that every block has.
        self.norm = RMSNorm(d_model, epsilon)
        self.out_norm = RMSNorm(d_model, epsilon) if self.position == "both" else None
        self.inner = module_for(config, d_model, epsilon)
        self.multiplier = architecture.residual_multiplier

    def forward(self, x_BTD: Tensor, documents: Documents | None = None) -> tuple[Tensor, Tensor | None]:
        """The residual stream after the block, and its auxiliary loss if it has one."""
        y_BTD, auxiliary = self.inner.forward_with_loss(self._read(x_BTD), documents)
        return self._add(x_BTD, y_BTD), auxiliary

    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        """`forward` that fills an empty decoding state."""
        return self._add(x_BTD, self.inner.prefill(self._read(x_BTD), state))

    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """The residual stream of one token.

        Args:
            x_BD: before the block.
            state: of the block, written in place.
            position: the token's, from 0.
        """
        return self._add(x_BD, self.inner.step(self._read(x_BD), state, position))

    def _read(self, x: Tensor) -> Tensor:
        """What `inner` reads of the residual stream, in the type in which products are computed."""
        if self.position == "post":
            return x.to(compute_dtype(x))
        normed: Tensor = self.norm(x)
        return normed

    def _add(self, x: Tensor, y: Tensor) -> Tensor:
        if self.position != "pre":
            y = (self.norm if self.out_norm is None else self.out_norm)(y)
        return x + y if self.multiplier == 1.0 else x + y * self.multiplier
