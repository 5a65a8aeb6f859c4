"""How the running mean is computed; imported where a model is built."""

from __future__ import annotations

import torch
from harmony_toys.block import RunningMean
from torch import Tensor

from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.parameter import matrix
from harmony_core.models.registry import implements


@implements("running_mean")
class RunningMeanModule(BlockModule):
    """B batch, T tokens, D model width, I inner width."""

    def __init__(self, config: RunningMean, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.width = config.width
        self.w_in_ID = self.declare("w_in_ID", (config.width, d_model), matrix(d_model))
        self.w_out_DI = self.declare("w_out_DI", (d_model, config.width), matrix(config.width, residual=True))

    def forward(self, x_BTD: Tensor) -> Tensor:
        """As `BlockModule.forward`."""
        sums_BTI = (x_BTD @ self.w_in_ID.T).float().cumsum(1)
        counts_T = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device)
        y_BTD: Tensor = (sums_BTI / counts_T[:, None]).to(x_BTD.dtype) @ self.w_out_DI.T
        return y_BTD

    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        """As `BlockModule.init_state`."""
        return {"sum_BI": torch.zeros(batch_size, self.width, device=device)}

    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        """As `BlockModule.prefill`."""
        state["sum_BI"] += (x_BTD @ self.w_in_ID.T).float().sum(1)
        return self(x_BTD)

    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """As `BlockModule.step`."""
        state["sum_BI"] += (x_BD @ self.w_in_ID.T).float()
        y_BD: Tensor = (state["sum_BI"] / (position + 1)).to(x_BD.dtype) @ self.w_out_DI.T
        return y_BD
