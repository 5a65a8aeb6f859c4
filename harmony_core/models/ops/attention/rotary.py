"""Rotary positions (Su et al. 2021, arXiv:2104.09864): neighbouring elements of a head are a complex number.

One complex product turns a whole projection in one pass. Llama's checkpoints pair element i with element
i + K/2 instead; `pairs_from_halves` and `halves_from_pairs` reorder a projection's rows from one to the other.

B batch, T tokens, H heads, K head width, J pairs of a head that turn.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.models.kernels import rotary_kernel
from harmony_core.models.ops.precision import without_autocast


def rotate_reference(x_BTHK: Tensor, turns_TJ: Tensor, heads: int | None = None, first: int = 0) -> Tensor:
    """The formula (equation 34), in fp64, returned in the type of `x_BTHK`; arguments as for `rotate`."""
    width = 2 * turns_TJ.shape[1]
    cos_T1J, sin_T1J = turns_TJ.real.double().unsqueeze(1), turns_TJ.imag.double().unsqueeze(1)
    turning = x_BTHK.double()[:, :, :heads, first : first + width]
    even, odd = turning[..., 0::2], turning[..., 1::2]
    turned = torch.stack((even * cos_T1J - odd * sin_T1J, odd * cos_T1J + even * sin_T1J), -1).flatten(-2)
    y_BTHK = x_BTHK.clone()
    y_BTHK[:, :, :heads, first : first + width] = turned.to(x_BTHK.dtype)
    return y_BTHK


def rotate_in_place(x: Tensor, turns: Tensor) -> None:
    """Turns the first 2J elements of each head; no gradient.

    Args:
        x: [.., heads, K] of any strides.
        turns: complex64 [J] for one position, or [T, J] or [B, T, J] where `x` is [B, T, heads, K].
    """
    width = 2 * turns.shape[-1]
    part = x if x.shape[-1] == width else x[..., :width]
    turns = turns.unsqueeze(-2)
    strides = (*part.stride()[:-1], part.storage_offset())
    if part.dtype == torch.float32 and part.stride(-1) == 1 and not any(stride % 2 for stride in strides):
        torch.view_as_complex(part.view(*part.shape[:-1], -1, 2)).mul_(turns)
    else:
        # This copies even what is contiguous: a row's part may begin at an odd place, where a complex view cannot
        # begin.
        dtype = torch.float64 if part.dtype == torch.float64 else torch.float32
        copied = part.to(dtype, copy=True, memory_format=torch.contiguous_format)
        pairs = torch.view_as_complex(copied.unflatten(-1, (-1, 2)))
        part.copy_(torch.view_as_real(pairs * turns).flatten(-2))


def _turn(x_BTHK: Tensor, turns_TJ: Tensor, heads: int | None, first: int, back: bool) -> Tensor:
    kernel = rotary_kernel(x_BTHK.device.type) if x_BTHK.dtype != torch.float64 and not first % 2 else None
    if kernel is not None:
        y: Tensor = kernel(x_BTHK, turns_TJ, x_BTHK.shape[2] if heads is None else heads, first, back)
        return y
    turns_TJ = turns_TJ.conj() if back else turns_TJ
    y_BTHK = x_BTHK.clone(memory_format=torch.contiguous_format)
    rotate_in_place(y_BTHK[:, :, :heads, first:], turns_TJ)
    return y_BTHK


class _Rotate(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, x_BTHK: Tensor, turns_TJ: Tensor, heads: int | None, first: int) -> Tensor:
        ctx.save_for_backward(turns_TJ)
        ctx.heads, ctx.first = heads, first
        return _turn(x_BTHK, turns_TJ, heads, first, back=False)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHK: Tensor) -> tuple[Tensor, None, None, None]:
        # A rotation's gradient is the rotation back.
        (turns_TJ,) = ctx.saved_tensors
        return _turn(dy_BTHK, turns_TJ, ctx.heads, ctx.first, back=True), None, None, None


def rotate(x_BTHK: Tensor, turns_TJ: Tensor, heads: int | None = None, first: int = 0) -> Tensor:
    """Turns elements `first` to before `first` + 2J of the first heads; the rest passes. Computed in fp32 at least.

    Args:
        x_BTHK: heads of queries, keys or both.
        turns_TJ: each token's turns, complex64, from `RotaryTable.slice`; [B, T, J] where rows differ.
        heads: how many heads turn; None is all.
        first: the first element of a head that turns.

    Returns:
        [B, T, H, K] in the type of `x_BTHK`.
    """
    return _Rotate.apply(x_BTHK, turns_TJ, heads, first)  # type: ignore[no-any-return, no-untyped-call]


def rotate_owned(x_BTHK: Tensor, turns_TJ: Tensor, heads: int | None = None, first: int = 0) -> Tensor:
    """`rotate` of a tensor that nobody else will read, in place where no gradient is asked for.

    Arguments as for `rotate`.
    """
    if torch.is_grad_enabled():
        return rotate(x_BTHK, turns_TJ, heads, first)
    rotate_in_place(x_BTHK[:, :, :heads, first:], turns_TJ)
    return x_BTHK


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
