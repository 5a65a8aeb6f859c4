"""RMSNorm in few passes: y = x / sqrt(mean(x^2) + eps) * w (arXiv:1910.07467, equation 4).

R rows, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import compute_dtype, without_autocast


def rms_norm_reference(x: Tensor, w_D: Tensor, epsilon: float) -> Tensor:
    """The formula, in fp32, returned in the type of `x`."""
    x_float = x.float()
    y = x_float * torch.rsqrt(x_float.square().mean(-1, keepdim=True) + epsilon)
    return (y * w_D.float()).to(x.dtype)


def _normalise(x: Tensor, w_D: Tensor, epsilon: float, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the rows it was made of, and what each row was multiplied by."""
    x_RD = x.reshape(-1, x.shape[-1]).float()
    scale_R1 = torch.linalg.vector_norm(x_RD, dim=-1, keepdim=True)
    scale_R1 = scale_R1.square_().div_(x_RD.shape[1]).add_(epsilon).rsqrt_()
    y_RD: Tensor = (x_RD * scale_R1).mul_(w_D).to(dtype)
    return y_RD.view(x.shape), x_RD, scale_R1


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, w_D: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        y, x_RD, scale_R1 = _normalise(x, w_D, epsilon, dtype)
        ctx.save_for_backward(x_RD, scale_R1, w_D)
        ctx.input_dtype = x.dtype
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x_RD, scale_R1, w_D = ctx.saved_tensors
        dy_RD = dy.reshape(x_RD.shape)
        product_RD = dy_RD * x_RD
        # The mean over a row of dy x w x; both sums over products are matrix-vector products.
        shrink_R1 = (product_RD @ w_D).unsqueeze_(1).mul_(scale_R1.pow(3)).div_(-x_RD.shape[1])
        dw_D = scale_R1.T @ product_RD
        dx_RD = torch.mul(dy_RD, w_D).mul_(scale_R1).addcmul_(x_RD, shrink_R1)
        return dx_RD.view(dy.shape).to(ctx.input_dtype), dw_D.view_as(w_D), None, None


def rms_norm(x: Tensor, w_D: Tensor, epsilon: float) -> Tensor:
    """Normalises the last dimension of `x` [.., D] in fp32; returns [.., D], under autocast in the autocast type."""
    if not torch.is_grad_enabled():
        # None of these operations is one that autocast would cast.
        return _normalise(x, w_D, epsilon, compute_dtype(x))[0]
    return _RMSNorm.apply(x, w_D, epsilon, compute_dtype(x))  # type: ignore[no-any-return, no-untyped-call]
