"""A toy mixer with state that no gradient changes: what it lately saw on average, over all ranks, and for how long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture import Block, Mode
from harmony_core.architecture import block as blocks
from harmony_core.models import registry
from harmony_core.models.block import BlockModule
from harmony_core.models.parameter import matrix


class Centred(Block):
    """The mean of the tokens so far, less what `mean_HK` remembers of inputs."""

    kind = "centred"
    role = "mixer"

    def num_params(self, d_model: int) -> int:
        return d_model * d_model

    def forward_flops_per_token(self, d_model: int, context: int, mode: Mode) -> float:
        return 2 * d_model * d_model


class CentredModule(BlockModule):
    """Buffers of two shapes and types, which a checkpoint has to flatten."""

    mean_HK: Tensor
    steps: Tensor
    total_D: Tensor
    tokens: Tensor

    def __init__(self, config: Centred, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.out = self.declare("out", (d_model, d_model), matrix(d_model, residual=True))
        self.declare_buffer("mean_HK", torch.zeros(2, d_model // 2))
        self.declare_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("total_D", torch.zeros(d_model), persistent=False)
        self.register_buffer("tokens", torch.zeros(1), persistent=False)

    def forward(self, x_BTD: Tensor) -> Tensor:
        if self.training:
            self.total_D += x_BTD.detach().float().sum((0, 1))
            self.tokens += x_BTD.shape[0] * x_BTD.shape[1]
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1, device=x_BTD.device).unsqueeze(1)
        return (x_BTD.cumsum(1) / counts_T1 - self.mean_HK.flatten()) @ self.out.T

    def sums_over_ranks(self) -> Sequence[Tensor]:
        return self.total_D, self.tokens

    @torch.no_grad()
    def after_step(self) -> None:
        self.mean_HK.lerp_((self.total_D / self.tokens).view_as(self.mean_HK), 0.3)
        self.steps += 1
        self.total_D.zero_()
        self.tokens.zero_()


class ExportedCentred(torch.nn.Module):
    """The same for the code that goes along with exported weights."""

    def __init__(self, b: dict[str, Any], d_model: int, epsilon: float) -> None:
        super().__init__()
        self.out = torch.nn.Parameter(torch.empty(d_model, d_model))
        self.register_buffer("mean_HK", torch.zeros(2, d_model // 2))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x_BTD: Tensor, state: dict[str, Tensor], start: int) -> Tensor:
        counts_T1 = torch.arange(1, x_BTD.shape[1] + 1).unsqueeze(1)
        return (x_BTD.cumsum(1) / counts_T1 - self.mean_HK.flatten()) @ self.out.T


@contextmanager
def known() -> Iterator[None]:
    """Within, architectures may have the toy."""
    blocks._REGISTRY[Centred.kind] = Centred
    registry._MODULES[Centred.kind] = CentredModule
    try:
        yield
    finally:
        del blocks._REGISTRY[Centred.kind], registry._MODULES[Centred.kind]
