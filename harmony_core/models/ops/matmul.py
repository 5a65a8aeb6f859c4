"""Matrix products with a weight: y = x W^T, where the fast one is, and its gradients.

R rows (tokens), I inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.models.kernels import onednn_fp32
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def product(x_RI: Tensor, w_OI: Tensor) -> Tensor:
    """x W^T without gradient. In fp32 on a CPU oneDNN is taken, which uses AVX-512 on every maker's CPUs."""
    # oneDNN refuses empty matrices, which an expert that nobody chose brings.
    if x_RI.dtype == torch.float32 and onednn_fp32(x_RI.device.type) and x_RI.numel():
        y_RO: Tensor = torch.ops.mkldnn._linear_pointwise(x_RI, w_OI, None, "none", [], "")
        return y_RO
    return x_RI @ w_OI.T


def input_gradient(dy_RO: Tensor, w_OI: Tensor) -> Tensor:
    """dy W."""
    return product(dy_RO, w_OI.T)


def weight_gradient(dy_RO: Tensor, x_RI: Tensor) -> Tensor:
    """dy^T x, [O, I], contiguous."""
    if x_RI.dtype == torch.float32 and onednn_fp32(x_RI.device.type):
        # Of two transposed operands oneDNN packs the second one cheaply: let that be the wider.
        if dy_RO.shape[1] >= x_RI.shape[1]:
            return product(x_RI.T, dy_RO.T).T.contiguous()
        return product(dy_RO.T, x_RI.T)
    return dy_RO.T @ x_RI


class _Linear(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor, w_OI: Tensor, dtype: torch.dtype) -> Tensor:
        x_RI = x.reshape(-1, x.shape[-1]).to(dtype)
        w_cast_OI = w_OI.to(dtype)
        ctx.save_for_backward(x_RI, w_cast_OI)
        ctx.shape, ctx.types = x.shape, (x.dtype, w_OI.dtype)
        return product(x_RI, w_cast_OI).view(*x.shape[:-1], w_OI.shape[0])

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x_RI, w_OI = ctx.saved_tensors
        dy_RO = dy.reshape(-1, dy.shape[-1])
        dx = input_gradient(dy_RO, w_OI).view(ctx.shape).to(ctx.types[0]) if ctx.needs_input_grad[0] else None
        dw_OI = weight_gradient(dy_RO, x_RI).to(ctx.types[1]) if ctx.needs_input_grad[1] else None
        return dx, dw_OI, None


def linear(x: Tensor, w_OI: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """x W^T over the last dimension of `x` [.., I].

    Args:
        x: [.., I].
        w_OI: the weight, in the type that the optimiser keeps.
        dtype: type of the product; None is the type of `x`, or autocast's where that is on.

    Returns:
        [.., O] in that type.
    """
    return _Linear.apply(x, w_OI, dtype or compute_dtype(x))  # type: ignore[no-any-return, no-untyped-call]
