"""Mixture of experts: routed experts by sorting, shared experts as one network (arXiv:2401.06066, section 3).

B batch, T tokens, D model width.
"""

from __future__ import annotations

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import MoE
from harmony_core.models.block import BlockModule
from harmony_core.models.ops.activation import activate
from harmony_core.models.ops.experts import routed_experts
from harmony_core.models.ops.matmul import linear
from harmony_core.models.parameter import matrix
from harmony_core.models.registry import implements
from harmony_core.models.router import Router


@implements("moe")
class MoEModule(BlockModule):
    """Routed experts, stored stacked, plus `n_shared` experts joined into one network of their summed width."""

    shared_up: torch.nn.Parameter | None
    shared_down: torch.nn.Parameter | None

    def __init__(self, config: MoE, d_model: int) -> None:
        super().__init__()
        self.activation, inner, experts = config.activation, config.d_expert, config.n_routed
        gates = 2 if config.activation == "swiglu" else 1
        self.router = Router(config, d_model)
        self.up = self.declare("up", (experts, gates * inner, d_model), matrix(d_model, stacked=True))
        down = matrix(inner, residual=True, stacked=True)
        self.down = self.declare("down", (experts, d_model, inner), down)
        self.shared_up = self.shared_down = None
        if config.n_shared:
            shared = config.n_shared * inner
            self.shared_up = self.declare("shared_up", (gates * shared, d_model), matrix(d_model))
            self.shared_down = self.declare("shared_down", (d_model, shared), matrix(shared, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.forward_with_loss(x_BTD)[0]

    @override
    def forward_with_loss(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        weights_BTK, chosen_BTK, auxiliary = self.router(x_BTD)
        x_RD, weights_RK, chosen_RK = (t.flatten(0, 1) for t in (x_BTD, weights_BTK, chosen_BTK))
        y_RD = routed_experts(x_RD, weights_RK, chosen_RK, self.up, self.down, self.activation)
        if self.shared_up is not None and self.shared_down is not None:
            y_RD = y_RD + linear(activate(linear(x_RD, self.shared_up), self.activation), self.shared_down)
        return y_RD.view_as(x_BTD), auxiliary

    @override
    def kernel_path(self) -> str:
        return "torch sorted slices"
