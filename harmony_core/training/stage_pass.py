"""A stage's forward pass as an engine calls it: tokens or activations in, activations or a loss out.

B sequences of a micro-batch, T tokens, D model width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from harmony_core.models import Stage
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import log_paths
from harmony_core.training.precision import autocast


class StagePass(nn.Module):
    """One stage in the recipe's precision, which adds up the losses of a step.

    A router's balancing loss does not travel with the activations: its gradient enters where it arises. So the loss
    that an engine sees is the cross entropy alone, and a pipeline sends one tensor.

    Args:
        stage: what is held here.
        precision: `bf16` is autocast over fp32 weights.
        device: where it is.
        num_micro_batches: forward passes a step, over which losses are averaged.
        begins_document: the token at which blocks begin anew; None is none, and the first stage alone may have one.
    """

    def __init__(
        self,
        stage: Stage,
        precision: str,
        device: torch.device,
        num_micro_batches: int,
        begins_document: int | None = None,
    ) -> None:
        super().__init__()
        self.stage, self._begins_document = stage, begins_document
        self._precision, self._device, self._share = precision, device, 1.0 / num_micro_batches
        self.cross_entropy = self.auxiliary = torch.zeros((), device=device)

    def begin_step(self) -> None:
        """Forgets the last step's losses."""
        self.cross_entropy = self.auxiliary = torch.zeros((), device=self._device)

    def forward(self, x: Tensor, targets_BT: Tensor | None = None) -> Tensor:
        """Activations [B, T, D] of tokens [B, T] (first stage) or activations; with targets the loss, a scalar."""
        log_paths(self.stage.kernel_paths())
        begins = self._begins_document
        documents = None if begins is None else Documents.beginning_with(x, begins)
        with autocast(self._device, self._precision):
            x_BTD, losses = self.stage.advance(self.stage.embed(x) if self.stage.is_first else x.float(), documents)
        if losses and torch.is_grad_enabled():
            auxiliary = torch.stack(losses).sum()
            self.auxiliary = self.auxiliary + auxiliary.detach() * self._share
            x_BTD = _Inject.apply(x_BTD, auxiliary, self._share)  # type: ignore[no-untyped-call]
        if not self.stage.is_last and self._precision == "bf16":
            # Between stages the residual stream, and in backward its gradient, travels in the precision of products:
            # half as many bytes, rounded once a stage.
            x_BTD = x_BTD.bfloat16()
        return x_BTD if targets_BT is None else self.loss(x_BTD, targets_BT)

    def loss(self, x_BTD: Tensor, targets_BT: Tensor) -> Tensor:
        """Mean cross entropy of the last stage's output, in nats per token."""
        with autocast(self._device, self._precision):
            loss = self.stage.cross_entropy(x_BTD, targets_BT)
        if torch.is_grad_enabled():
            self.cross_entropy = self.cross_entropy + loss.detach() * self._share
        return loss


class _Inject(torch.autograd.Function):
    """Passes x on; in the backward pass gives `auxiliary` the gradient that it has as a summand of the step's loss."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, auxiliary: Tensor, share: float) -> Tensor:
        ctx.share, ctx.like = share, auxiliary
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> tuple[Tensor, Tensor, None]:
        return dx, torch.full_like(ctx.like, ctx.share), None
