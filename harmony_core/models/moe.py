"""Mixture of experts: routed experts by sorting, shared experts as one network (arXiv:2401.06066, section 3).

B batch, T tokens, D model width, K chosen per token.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import MoE
from harmony_core.models.block import BlockModule
from harmony_core.models.documents import Documents
from harmony_core.models.expert_parallel import ExpertParallel, dispatched_experts
from harmony_core.models.ops.activation import gates
from harmony_core.models.ops.feed_forward import feed_forward
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.moe.assignments import within_capacity
from harmony_core.models.ops.moe.experts import experts_path, routed_experts
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

    latent_down: torch.nn.Parameter | None
    latent_down_bias: torch.nn.Parameter | None
    latent_up: torch.nn.Parameter | None
    latent_up_bias: torch.nn.Parameter | None
    shared_up: torch.nn.Parameter | None
    shared_up_bias: torch.nn.Parameter | None
    shared_down: torch.nn.Parameter | None
    shared_down_bias: torch.nn.Parameter | None
    shared_gate: torch.nn.Parameter | None

    def __init__(self, config: MoE, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config, self.activation, inner, experts = config, config.activation, config.d_expert, config.n_routed
        wide, width = gates(config.activation) * inner, config.expert_width(d_model)
        self.router = Router(config, d_model)
        self.expert_parallel: ExpertParallel | None = None
        self.up = self.declare("up", (experts, wide, width), matrix(width, stacked=True))
        # The last product adds to the residual stream.
        down = matrix(inner, residual=config.d_latent is None, stacked=True)
        self.down = self.declare("down", (experts, width, inner), down)
        bias = ParameterSpec(constant(0.0))
        # All ranks that share experts have all of their biases.
        self.up_bias = self.declare("up_bias", (experts, wide), bias) if config.expert_bias else None
        self.down_bias = self.declare("down_bias", (experts, width), bias) if config.expert_bias else None
        self.latent_down = self.latent_up = self.latent_down_bias = self.latent_up_bias = None
        if config.d_latent is not None:
            self._declare_latent(config.d_latent, d_model, config.latent_bias)
        self.shared_up = self.shared_up_bias = self.shared_down = self.shared_down_bias = self.shared_gate = None
        if config.n_shared:
            self._declare_shared(config, d_model)

    def _declare_latent(self, latent: int, d_model: int, bias: bool) -> None:
        self.latent_down = self.declare("latent_down", (latent, d_model), matrix(d_model))
        self.latent_up = self.declare("latent_up", (d_model, latent), matrix(latent, residual=True))
        if bias:
            self.latent_down_bias = self.declare("latent_down_bias", (latent,), ParameterSpec(constant(0.0)))
            self.latent_up_bias = self.declare("latent_up_bias", (d_model,), ParameterSpec(constant(0.0)))

    def _declare_shared(self, config: MoE, d_model: int) -> None:
        inner, wide = config.shared_width, gates(config.activation) * config.shared_width
        self.shared_up = self.declare("shared_up", (wide, d_model), matrix(d_model))
        self.shared_down = self.declare("shared_down", (d_model, inner), matrix(inner, residual=True))
        if config.shared_gate:
            self.shared_gate = self.declare("shared_gate", (1, d_model), matrix(d_model))
        if config.shared_bias:
            self.shared_up_bias = self.declare("shared_up_bias", (wide,), ParameterSpec(constant(0.0)))
            self.shared_down_bias = self.declare("shared_down_bias", (d_model,), ParameterSpec(constant(0.0)))

    @override
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
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        return self.forward_with_loss(x_BTD, documents)[0]

    @override
    def forward_with_loss(self, x_BTD: Tensor, documents: Documents | None = None) -> tuple[Tensor, Tensor | None]:
        weights_BTK, chosen_BTK, auxiliary = self.router(x_BTD, None if documents is None else documents.real_BT)
        kept_RK = self._kept(chosen_BTK)
        narrow_BTD = x_BTD
        if self.latent_down is not None:
            narrow_BTD = linear(x_BTD, self.latent_down, self.latent_down_bias)
        x_RD, weights_RK, chosen_RK = (t.flatten(0, 1) for t in (narrow_BTD, weights_BTK, chosen_BTK))
        y_RD, shared_BTD = self._routed(x_RD, weights_RK, chosen_RK, kept_RK, x_BTD)
        y_BTD = y_RD.view_as(narrow_BTD)
        if self.latent_up is not None:
            y_BTD = linear(y_BTD, self.latent_up, self.latent_up_bias)
        return y_BTD if shared_BTD is None else y_BTD + shared_BTD, auxiliary

    def _shared(self, x_BTD: Tensor) -> Tensor:
        """The experts that every token takes."""
        assert self.shared_up is not None, "there are some"
        assert self.shared_down is not None, "both products or none"
        shared = (self.shared_up, self.shared_up_bias, self.shared_down, self.shared_down_bias)
        shared_BTD = feed_forward(x_BTD, *shared, self.activation)
        return shared_BTD if self.shared_gate is None else shared_BTD * linear(x_BTD, self.shared_gate).sigmoid()

    def _routed(
        self, x_RD: Tensor, weights_RK: Tensor, chosen_RK: Tensor, kept_RK: Tensor | None, x_BTD: Tensor
    ) -> tuple[Tensor, Tensor | None]:
        """The weighted sums of the chosen experts' outputs, [R, D] at the experts' width, and the shared experts'."""
        meanwhile = None if self.shared_up is None else functools.partial(self._shared, x_BTD)
        arguments = (x_RD, weights_RK, chosen_RK, self.up, self.down, self.activation, kept_RK)
        ep = self.expert_parallel
        if ep is None:
            y_RD = routed_experts(*arguments, self.up_bias)
            shared_BTD = None if meanwhile is None else meanwhile()
        else:
            held = self.config.n_routed // ep.size
            mine = None if self.up_bias is None else self.up_bias.narrow(0, ep.rank * held, held)
            y_RD, shared_BTD = dispatched_experts(*arguments, ep, mine, meanwhile)
        if self.down_bias is None:
            return y_RD, shared_BTD
        weights_RK = weights_RK if kept_RK is None else weights_RK * kept_RK
        shares_RE = weights_RK.new_zeros(len(x_RD), self.config.n_routed).scatter(1, chosen_RK, weights_RK)
        return y_RD + shares_RE.to(y_RD.dtype) @ self.down_bias.to(y_RD.dtype), shared_BTD

    def _kept(self, chosen_BTK: Tensor) -> Tensor | None:
        """Choices within their expert's capacity, bool [B T, K]; the others add nothing, and no weight makes up."""
        factor, experts = self.config.capacity_factor, self.config.n_routed
        if factor is None:
            return None
        _, length, choices = chosen_BTK.shape
        capacity = math.ceil(factor * length * choices / experts)
        return within_capacity(chosen_BTK, experts, capacity).flatten(0, 1)

    @override
    def sums_over_ranks(self) -> Sequence[Tensor]:
        return (self.router.counts_E,)

    @override
    def after_step(self) -> None:
        self.router.after_step()

    @override
    @contextmanager
    def recomputing(self) -> Iterator[None]:
        """The router has counted these tokens before."""
        self.router.counting = False
        try:
            yield
        finally:
            self.router.counting = True

    @override
    def expert_load(self) -> Tensor | None:
        return self.router.load_E

    @override
    def kernel_path(self) -> str:
        return experts_path(self.up, self.down, self.up_bias)
