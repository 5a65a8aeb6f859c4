"""RMSNorm in few passes: y = x / sqrt(mean(x^2) + eps) * w (arXiv:1910.07467, equation 4).

R rows, D width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.models.kernels import fused_rms_norm
from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast


def rms_norm_reference(x: Tensor, w_D: Tensor, epsilon: float) -> Tensor:
    """The formula, in fp32, returned in the type of `x`; arguments as for `rms_norm`."""
    x_float = x.float()
    y = x_float * torch.rsqrt(x_float.square().mean(-1, keepdim=True) + epsilon)
    return (y * w_D.float()).to(x.dtype)


def _scale(x: Tensor, epsilon: float) -> Tensor:
    """What each row of `x`, fp32 [.., D], is multiplied by, [.., 1]."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, w_D: Tensor, epsilon: float, dtype: torch.dtype) -> Tensor:
        x_RD = at_least_fp32(x.reshape(-1, x.shape[-1]))
        scale_R1 = _scale(x_RD, epsilon)
        ctx.save_for_backward(x_RD, scale_R1, w_D)
        ctx.input_dtype = x.dtype
        return (x_RD * scale_R1).mul_(w_D).to(dtype).view(x.shape)

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
    """Normalises the last dimension, in fp32 or fp64.

    Args:
        x: [.., D].
        w_D: the weight.
        epsilon: added to the mean square.

    Returns:
        [.., D] in the type of `x`, under autocast in its type.
    """
    if not torch.is_grad_enabled() or fused_rms_norm(x.device.type):
        y = torch.nn.functional.rms_norm(at_least_fp32(x), w_D.shape, at_least_fp32(w_D), epsilon)
        return y.to(compute_dtype(x))
    return _RMSNorm.apply(x, w_D, epsilon, compute_dtype(x))  # type: ignore[no-any-return, no-untyped-call]


def norm_queries_and_keys(x_BHK: Tensor, w_query_K: Tensor, w_key_K: Tensor, heads: int, epsilon: float) -> Tensor:
    """`rms_norm` of the first `heads` heads with one weight and of the others with another one; no gradient.

    Args:
        x_BHK: overwritten where it is fp32.
        w_query_K: the weight of the queries.
        w_key_K: the weight of the keys.
        heads: how many heads are queries.
        epsilon: added to the mean square.

    Returns:
        [B, H, K] in fp32.
    """
    x_BHK = x_BHK.float()
    x_BHK.mul_(_scale(x_BHK, epsilon))
    x_BHK[:, :heads].mul_(w_query_K)
    x_BHK[:, heads:].mul_(w_key_K)
    return x_BHK
