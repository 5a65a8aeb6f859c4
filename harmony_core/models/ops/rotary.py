"""Rotary positions (Su et al. 2021, arXiv:2104.09864): neighbouring elements of a head are a complex number.

One complex product turns a whole projection in one pass. Llama's checkpoints pair element i with element
i + K/2 instead; `pairs_from_halves` and `halves_from_pairs` reorder a projection's rows from one to the other.

B batch, T tokens, H heads, K head width.
"""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import without_autocast


@functools.lru_cache(maxsize=64)
def rotary_table(start: int, stop: int, heads: int, head_dim: int, base: float, device: torch.device) -> Tensor:
    """e^(i angle), complex64 [T, H, K/2], of the positions from `start` to before `stop`."""
    with torch.inference_mode(False):
        frequencies = base ** -(torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
        angles = torch.arange(start, stop, dtype=torch.float64)[:, None] * frequencies
        turns = torch.polar(torch.ones_like(angles), angles).to(torch.complex64)
        # A table as wide as the data makes the product one long run over memory.
        return turns.unsqueeze(1).expand(-1, heads, -1).contiguous().to(device)


def rotate_reference(x_BTHK: Tensor, start: int, base: float) -> Tensor:
    """The formula (equation 34), in fp64, returned in the type of `x_BTHK`."""
    width = x_BTHK.shape[3]
    frequencies = base ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = (torch.arange(x_BTHK.shape[1], dtype=torch.float64) + start)[:, None, None] * frequencies
    even, odd = x_BTHK.double()[..., 0::2], x_BTHK.double()[..., 1::2]
    turned = (even * angles.cos() - odd * angles.sin(), odd * angles.cos() + even * angles.sin())
    return torch.stack(turned, -1).flatten(-2).to(x_BTHK.dtype)


def _turn(x_BTHK: Tensor, turns: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x_BTHK.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns).flatten(-2).to(x_BTHK.dtype)


class _Rotate(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x_BTHK: Tensor, turns: Tensor) -> Tensor:
        ctx.save_for_backward(turns)
        return _turn(x_BTHK, turns)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHK: Tensor) -> tuple[Tensor, None]:
        # A rotation's gradient is the rotation back.
        (turns,) = ctx.saved_tensors
        return _turn(dy_BTHK, turns.conj()), None


def rotate(x_BTHK: Tensor, start: int, base: float) -> Tensor:
    """Rotates each head by its token's position (`start` is the first token's); computed in fp32."""
    _, length, heads, width = x_BTHK.shape
    turns = rotary_table(start, start + length, heads, width, base, x_BTHK.device)
    return _Rotate.apply(x_BTHK, turns)  # type: ignore[no-any-return, no-untyped-call]


def pairs_from_halves(w: Tensor, head_dim: int) -> Tensor:
    """Reorders dimension 0, heads of `head_dim` rows, from (i, i + K/2) pairs to neighbours."""
    heads = w.unflatten(0, (-1, 2, head_dim // 2))
    rows: Tensor = heads.transpose(1, 2).reshape(w.shape)
    return rows


def halves_from_pairs(w: Tensor, head_dim: int) -> Tensor:
    """The inverse of `pairs_from_halves`."""
    heads = w.unflatten(0, (-1, head_dim // 2, 2))
    rows: Tensor = heads.transpose(1, 2).reshape(w.shape)
    return rows
