"""Vectors of length one: y = x / sqrt(sum(x^2) + eps), as delta rules take queries and keys.

R rows, K width of a head.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import at_least_fp32, without_autocast

EPSILON = 1e-6


def l2_norm_reference(x: Tensor) -> Tensor:
    """The formula, in the type of `x`; for tests."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + EPSILON)


def _inverse(x: Tensor) -> Tensor:
    """1 / sqrt(sum(x^2) + eps), [.., 1]."""
    norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return norm.square_().add_(EPSILON).rsqrt_()


class _L2Norm(torch.autograd.Function):
    """Keeps its output, which whoever reads it keeps too, and a number a row."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x_float = at_least_fp32(x)
        inverse = _inverse(x_float)
        y = x_float * inverse
        ctx.save_for_backward(y, inverse)
        ctx.dtype = x.dtype
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        y, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(dy, y).unsqueeze(-1)
        return torch.addcmul(dy, y, along, value=-1).mul_(inverse).to(ctx.dtype)


def l2_norm(x: Tensor) -> Tensor:
    """Each row of `x` [.., K] at length one; fp32, or fp64 where `x` is."""
    if not torch.is_grad_enabled():
        x = at_least_fp32(x)
        return x * _inverse(x)
    return _L2Norm.apply(x)  # type: ignore[no-any-return, no-untyped-call]
