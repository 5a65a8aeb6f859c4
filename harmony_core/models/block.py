"""The module side of a block: what every mixer and channel mixer computes, in parallel and token by token.

B batch, T tokens, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.models.parameter import Declared

BlockState = dict[str, Tensor]


class BlockModule(Declared):
    """A sub-layer between its pre-norm and the residual addition."""

    def forward(self, x_BTD: Tensor) -> Tensor:
        """The sub-layer's output for whole sequences, same shape and device as `x_BTD`."""
        raise TypeError(f"{type(self).__name__} has no parallel form")

    def forward_with_loss(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        """`forward`, and an auxiliary loss (scalar, nats, already weighted) for those that have one."""
        return self(x_BTD), None

    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        """Zeroed tensors that `step` reads and writes in place; empty for a block without memory."""
        return {}

    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        """`forward` that leaves `state`, empty before, as `step` would after the T tokens."""
        if state:
            raise TypeError(f"{type(self).__name__} has memory and no prefill")
        y_BTD: Tensor = self(x_BTD)
        return y_BTD

    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """The output for the token at `position`, given `state` after the tokens before it."""
        y_B1D: Tensor = self(x_BD.unsqueeze(1))
        return y_B1D.squeeze(1)

    def kernel_path(self) -> str:
        """Which implementation computes this block on its parameters' device."""
        return "torch"

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next(self.parameters()).device
