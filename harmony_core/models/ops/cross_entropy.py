"""Cross entropy of a projection to the vocabulary, without ever holding all logits.

R rows (tokens), D model width, V vocabulary, C rows of a chunk.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core import tiling
from harmony_core.models.ops.matmul import input_gradient, product, weight_gradient
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def cross_entropy_reference(hidden_RD: Tensor, head_VD: Tensor, targets_R: Tensor) -> Tensor:
    """All logits, then the mean cross entropy in nats, in fp32; arguments as for `linear_cross_entropy`."""
    logits_RV = torch.nn.functional.linear(hidden_RD, head_VD)
    return torch.nn.functional.cross_entropy(logits_RV.float(), targets_R)


class _LinearCrossEntropy(torch.autograd.Function):
    """The gradient is known as soon as the logits are, so it is computed while they are in cache."""

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        hidden_RD: Tensor,
        head_VD: Tensor,
        targets_R: Tensor,
        dtype: torch.dtype,
        needs_gradient: bool,
    ) -> Tensor:
        rows = hidden_RD.shape[0]
        x_RD, w_VD = hidden_RD.to(dtype), head_VD.to(dtype)
        total = torch.zeros((), dtype=torch.float32, device=x_RD.device)
        dx_RD = torch.empty_like(hidden_RD) if needs_gradient else None
        dw_VD = torch.zeros_like(head_VD, dtype=torch.float32) if needs_gradient else None
        step = tiling.logits_rows(head_VD.shape[0], x_RD.device.type)
        for start in range(0, rows, step):
            x_CD, targets_C1 = x_RD[start : start + step], targets_R[start : start + step, None]
            logits_CV = product(x_CD, w_VD).float()
            normaliser_C1 = logits_CV.logsumexp(1, keepdim=True)
            total += (normaliser_C1 - logits_CV.gather(1, targets_C1)).sum()
            if dx_RD is not None and dw_VD is not None:
                dlogits_CV = logits_CV.sub_(normaliser_C1).exp_()
                dlogits_CV.scatter_add_(1, targets_C1, dlogits_CV.new_full((1, 1), -1.0).expand_as(targets_C1))
                dlogits_CV = dlogits_CV.div_(rows).to(dtype)
                dx_RD[start : start + step] = input_gradient(dlogits_CV, w_VD)
                dw_VD += weight_gradient(dlogits_CV, x_CD)
        if dx_RD is not None and dw_VD is not None:
            ctx.save_for_backward(dx_RD, dw_VD.to(head_VD.dtype))
        return total / rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dloss: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        dx_RD, dw_VD = ctx.saved_tensors
        return dx_RD * dloss.to(dx_RD.dtype), dw_VD * dloss, None, None, None


def linear_cross_entropy(hidden_RD: Tensor, head_VD: Tensor, targets_R: Tensor) -> Tensor:
    """Mean over rows of -log softmax(hidden head^T)[target], a scalar in nats.

    The product is in the autocast type where autocast is on; softmax and sum are in fp32.

    Args:
        hidden_RD: final hidden states.
        head_VD: the output head.
        targets_R: int64 class of each row.
    """
    needs_gradient = torch.is_grad_enabled() and (hidden_RD.requires_grad or head_VD.requires_grad)
    dtype = compute_dtype(hidden_RD)
    return _LinearCrossEntropy.apply(hidden_RD, head_VD, targets_R, dtype, needs_gradient)  # type: ignore[no-any-return, no-untyped-call]
