"""Mixture of experts: routed experts by sorting, shared experts as one network (arXiv:2401.06066, section 3).

B batch, T tokens, D model width, K chosen per token.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import MoE
from harmony_core.models.block import BlockModule
from harmony_core.models.expert_parallel import ExpertParallel, dispatched_experts
from harmony_core.models.ops.activation import gates
from harmony_core.models.ops.assignments import within_capacity
from harmony_core.models.ops.experts import experts_path, routed_experts
from harmony_core.models.ops.feed_forward import feed_forward
from harmony_core.models.parameter import ParameterSpec, constant, matrix
from harmony_core.models.registry import implements
from harmony_core.models.router import Router


@implements("moe")
class MoEModule(BlockModule):
    """Routed experts, stored stacked, plus the shared experts, joined into one network of their summed width.

    With `capacity_factor` each sequence has its own capacities, which grow with its length T: `forward` and `prefill`
    drop alike, but `step` sees one token a sequence, which is within any capacity. So `step` agrees with `forward`
    where nothing is dropped, and else computes what `forward` would without a capacity.

    Args:
        config: experts, routing and shared network.
        d_model: width D.
        norm_epsilon: not used here.
    """

    shared_up: torch.nn.Parameter | None
    shared_up_bias: torch.nn.Parameter | None
    shared_down: torch.nn.Parameter | None
    shared_down_bias: torch.nn.Parameter | None

    def __init__(self, config: MoE, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config, self.activation, inner, experts = config, config.activation, config.d_expert, config.n_routed
        wide = gates(config.activation) * inner
        self.router = Router(config, d_model)
        self.expert_parallel: ExpertParallel | None = None
        self.up = self.declare("up", (experts, wide, d_model), matrix(d_model, stacked=True))
        down = matrix(inner, residual=True, stacked=True)
        self.down = self.declare("down", (experts, d_model, inner), down)
        self.shared_up = self.shared_up_bias = self.shared_down = self.shared_down_bias = None
        if config.n_shared:
            self._declare_shared(config, d_model)

    def _declare_shared(self, config: MoE, d_model: int) -> None:
        inner, wide = config.shared_width, gates(config.activation) * config.shared_width
        self.shared_up = self.declare("shared_up", (wide, d_model), matrix(d_model))
        self.shared_down = self.declare("shared_down", (d_model, inner), matrix(inner, residual=True))
        if config.shared_bias:
            self.shared_up_bias = self.declare("shared_up_bias", (wide,), ParameterSpec(constant(0.0)))
            self.shared_down_bias = self.declare("shared_down_bias", (d_model,), ParameterSpec(constant(0.0)))

    def use_expert_parallel(self, ep: ExpertParallel) -> None:
        """Keeps the place of this rank's experts alone; `up` and `down` are new and unfilled."""
        held = self.config.n_routed // ep.size
        for name in ("up", "down"):
            spec = dataclasses.replace(self.specs[name], first_expert=ep.rank * held)
            setattr(self, name, self.declare(name, (held, *getattr(self, name).shape[1:]), spec))
        self.expert_parallel = ep

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        return self.forward_with_loss(x_BTD)[0]

    @override
    def forward_with_loss(self, x_BTD: Tensor) -> tuple[Tensor, Tensor | None]:
        weights_BTK, chosen_BTK, auxiliary = self.router(x_BTD)
        kept_RK = self._kept(chosen_BTK)
        x_RD, weights_RK, chosen_RK = (t.flatten(0, 1) for t in (x_BTD, weights_BTK, chosen_BTK))
        arguments = (x_RD, weights_RK, chosen_RK, self.up, self.down, self.activation, kept_RK)
        ep = self.expert_parallel
        y_RD = routed_experts(*arguments) if ep is None else dispatched_experts(*arguments, ep)
        y_BTD = y_RD.view_as(x_BTD)
        if self.shared_up is None or self.shared_down is None:
            return y_BTD, auxiliary
        shared = (self.shared_up, self.shared_up_bias, self.shared_down, self.shared_down_bias)
        return y_BTD + feed_forward(x_BTD, *shared, self.activation), auxiliary

    def _kept(self, chosen_BTK: Tensor) -> Tensor | None:
        """Choices within their expert's capacity, bool [B T, K]; the others add nothing, and no weight makes up."""
        factor, experts = self.config.capacity_factor, self.config.n_routed
        if factor is None:
            return None
        _, length, choices = chosen_BTK.shape
        capacity = math.ceil(factor * length * choices / experts)
        return within_capacity(chosen_BTK, experts, capacity).flatten(0, 1)

    @override
    def kernel_path(self) -> str:
        return experts_path(self.up, self.down)
