"""Rotary positions (Su et al. 2021, arXiv:2104.09864), the halves of a head rotated against each other.

B batch, T tokens, H heads, K head width.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import without_autocast


@functools.lru_cache(maxsize=64)
def rotary_table(start: int, stop: int, head_dim: int, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines, fp32 [T, 1, K/2], of the positions from `start` to before `stop`."""
    with torch.inference_mode(False):
        frequencies = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.arange(start, stop, dtype=torch.float64)[:, None, None] * frequencies
        return angles.cos().float().to(device), angles.sin().float().to(device)


def rotate_reference(x_BTHK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """The formula, in fp32, returned in the type of `x_BTHK`."""
    first, second = x_BTHK.float().chunk(2, -1)
    rotated = torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    return rotated.to(x_BTHK.dtype)


def _rotate(x_BTHK: Tensor, cos: Tensor, sin: Tensor, sign: float) -> Tensor:
    first, second = x_BTHK.chunk(2, -1)
    out = torch.empty(x_BTHK.shape, dtype=torch.float32, device=x_BTHK.device)
    left, right = out.chunk(2, -1)
    torch.mul(first, cos, out=left).addcmul_(second, sin, value=-sign)
    torch.mul(second, cos, out=right).addcmul_(first, sin, value=sign)
    return out.to(x_BTHK.dtype)


class _Rotate(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x_BTHK: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _rotate(x_BTHK, cos, sin, 1.0)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHK: Tensor) -> tuple[Tensor, None, None]:
        # A rotation's gradient is the rotation back.
        cos, sin = ctx.saved_tensors
        return _rotate(dy_BTHK, cos, sin, -1.0), None, None


def rotate(x_BTHK: Tensor, start: int, base: float) -> Tensor:
    """Rotates each head by its token's position (`start` is the first token's); computed in fp32."""
    cos, sin = rotary_table(start, start + x_BTHK.shape[1], x_BTHK.shape[-1], base, x_BTHK.device)
    return _Rotate.apply(x_BTHK, cos, sin)  # type: ignore[no-any-return, no-untyped-call]
