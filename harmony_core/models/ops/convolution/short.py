"""LFM2's gated short convolution, y = C * (w conv (B * x) + b): gates and taps in one pass over what a cache holds.

B batch, T tokens, D channels, E the 3D joined channels in the order B, C, x; K taps (the last one is the token
itself), R sequences and I tokens of a piece, S those and the tokens around them that its taps reach.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from harmony_core.models.kernels import conv_kernel
from harmony_core.models.ops.convolution.kernels import run_conv_kernel
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.tiling import short_conv_tokens


def short_conv_reference(z_BTE: Tensor, w_DK: Tensor, b_D: Tensor | None) -> Tensor:
    """The formula, with PyTorch's grouped convolution; arguments as for `gated_short_conv`."""
    b_BTD, c_BTD, x_BTD = z_BTE.chunk(3, -1)
    padded_BDT = pad((b_BTD * x_BTD).mT, (w_DK.shape[1] - 1, 0))
    return c_BTD * conv1d(padded_BDT, w_DK.unsqueeze(1), b_D, groups=w_DK.shape[0]).mT


def _pieces(z_BTE: Tensor, width: int) -> Iterator[tuple[slice, int, int]]:
    """Sequences, first token and end of each piece: tokens of one sequence, or several short ones; on a GPU all."""
    batch, length = z_BTE.shape[:2]
    tokens = short_conv_tokens(width) if z_BTE.device.type == "cpu" else batch * length
    together = max(1, tokens // length)
    for row in range(0, batch, together):
        for start in range(0, length, tokens):
            yield slice(row, row + together), start, min(start + tokens, length)


def _gated_input(z_RSE: Tensor, width: int, out: Tensor | None = None) -> Tensor:
    """B * x."""
    return torch.mul(at_least_fp32(z_RSE[..., :width]), at_least_fp32(z_RSE[..., 2 * width :]), out=out)


def _windows(x_RSD: Tensor, tokens: int) -> tuple[Tensor, ...]:
    """All runs of so many tokens I, [R, I, D] each, the earliest first: views, made by one call for all taps."""
    windows_RKID: Tensor = x_RSD.unfold(1, tokens, 1).transpose(2, 3)
    return windows_RKID.unbind(1)


def _convolve(z_RSE: Tensor, w_lags: tuple[Tensor, ...], b_D: Tensor | None, mixed_RID: Tensor) -> None:
    """Writes w conv (B * x) + b of the last I of at most I + K - 1 tokens; before the first one stand zeros.

    Args:
        z_RSE: B, C and x of the tokens.
        w_lags: taps [D], the token's own one first.
        b_D: bias of each channel, or None.
        mixed_RID: overwritten.
    """
    rows, tokens, width = mixed_RID.shape
    u_RSD = mixed_RID.new_empty(rows, tokens + len(w_lags) - 1, width)
    missing = u_RSD.shape[1] - z_RSE.shape[1]
    u_RSD[:, :missing] = 0
    _gated_input(z_RSE, width, out=u_RSD[:, missing:])
    own, *earlier = reversed(_windows(u_RSD, tokens))
    torch.mul(own, w_lags[0], out=mixed_RID)
    for window, tap in zip(earlier, w_lags[1:], strict=True):
        mixed_RID.addcmul_(window, tap)
    if b_D is not None:
        mixed_RID.add_(b_D)


def _input_and_tap_gradients(
    dmixed_RSD: Tensor, u_RID: Tensor, w_lags: tuple[Tensor, ...], dw_lags: tuple[Tensor, ...], ones: Tensor
) -> Tensor:
    """du [R, I, D].

    Args:
        dmixed_RSD: gradients of the piece's tokens and of the K - 1 that they reach, zeros behind the last one.
        u_RID: B * x of the piece.
        w_lags: taps [D], the token's own one first.
        dw_lags: their gradients, to which the piece's are added.
        ones: as many as R I.
    """
    windows, product_RID = _windows(dmixed_RSD, u_RID.shape[1]), torch.empty_like(u_RID)
    du_RID, product_DJ = windows[0] * w_lags[0], product_RID.flatten(0, 1).T
    for window, tap in zip(windows[1:], w_lags[1:], strict=True):
        du_RID.addcmul_(window, tap)
    for window, dtap in zip(windows, dw_lags, strict=True):
        torch.mul(window, u_RID, out=product_RID)
        # A product with a vector of ones is faster than a reduction over leading axes.
        dtap.addmv_(product_DJ, ones)
    return du_RID


class _GatedShortConv(torch.autograd.Function):
    """Keeps z and the convolved product; B * x is made again, and dz is written once."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, z_BTE: Tensor, w_DK: Tensor, b_D: Tensor | None) -> Tensor:
        width, taps = w_DK.shape
        w_KD = at_least_fp32(w_DK).T.contiguous()
        bias_D = None if b_D is None else at_least_fp32(b_D)
        w_lags = w_KD.flip(0).unbind()
        mixed_BTD = z_BTE.new_empty(*z_BTE.shape[:2], width)
        y_BTD = torch.empty_like(mixed_BTD)
        for rows, start, stop in _pieces(z_BTE, width):
            kept_RID = mixed_BTD[rows, start:stop]
            mixed_RID = kept_RID if kept_RID.dtype == w_KD.dtype else torch.empty_like(kept_RID, dtype=w_KD.dtype)
            _convolve(z_BTE[rows, max(0, start - taps + 1) : stop], w_lags, bias_D, mixed_RID)
            torch.mul(mixed_RID, z_BTE[rows, start:stop, width : 2 * width], out=y_BTD[rows, start:stop])
            if mixed_RID is not kept_RID:
                kept_RID.copy_(mixed_RID)
        ctx.save_for_backward(z_BTE, w_KD, mixed_BTD)
        ctx.types = w_DK.dtype, None if b_D is None else b_D.dtype
        return y_BTD

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTD: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        z_BTE, w_KD, mixed_BTD = ctx.saved_tensors
        taps, width = w_KD.shape
        dz_BTE, dw_KD, db_D = torch.empty_like(z_BTE), torch.zeros_like(w_KD), w_KD.new_zeros(width)
        w_lags, dw_lags = w_KD.flip(0).unbind(), dw_KD.unbind()[::-1]
        for rows, start, stop in _pieces(z_BTE, width):
            own, end = stop - start, min(stop + taps - 1, z_BTE.shape[1])
            z_RIE, dy_RSD = z_BTE[rows, start:stop], at_least_fp32(dy_BTD[rows, start:end])
            dmixed_RSD = dy_RSD.new_empty(dy_RSD.shape[0], own + taps - 1, width)
            dmixed_RSD[:, end - start :] = 0
            torch.mul(
                dy_RSD, at_least_fp32(z_BTE[rows, start:end, width : 2 * width]), out=dmixed_RSD[:, : end - start]
            )
            ones = w_KD.new_ones(z_RIE.shape[0] * own)
            du_RID = _input_and_tap_gradients(dmixed_RSD, _gated_input(z_RIE, width), w_lags, dw_lags, ones)
            if ctx.types[1] is not None:
                db_D.addmv_(dmixed_RSD[:, :own].flatten(0, 1).T, ones)
            db_RID, dc_RID, dx_RID = dz_BTE[rows, start:stop].chunk(3, -1)
            torch.mul(du_RID, z_RIE[..., 2 * width :], out=db_RID)
            torch.mul(dy_RSD[:, :own], mixed_BTD[rows, start:stop], out=dc_RID)
            torch.mul(du_RID, z_RIE[..., :width], out=dx_RID)
        w_type, b_type = ctx.types
        return dz_BTE, dw_KD.T.to(w_type), None if b_type is None else db_D.to(b_type)


def gated_short_conv(z_BTE: Tensor, w_DK: Tensor, b_D: Tensor | None = None) -> Tensor:
    """C * (w conv (B * x) + b), [B, T, D] in the type of `z_BTE`; in fp32, or fp64 where it is.

    Args:
        z_BTE: B, C and x side by side.
        w_DK: taps of each channel, the token's own one last.
        b_D: bias of each channel, or none.
    """
    kernel = conv_kernel(z_BTE.device.type, w_DK.shape[1])
    if kernel is None:
        return _GatedShortConv.apply(z_BTE, w_DK, b_D)  # type: ignore[no-any-return, no-untyped-call]
    b_BTD, c_BTD, x_BTD = z_BTE.chunk(3, -1)
    return c_BTD * run_conv_kernel(kernel, b_BTD * x_BTD, w_DK, b_D, activation=None)


@without_autocast
def gated_short_conv_step(z_BE: Tensor, state_BKD: Tensor, w_DK: Tensor, b_D: Tensor | None = None) -> Tensor:
    """One token of `gated_short_conv`: [B, D] in the type of `z_BE`.

    Args:
        z_BE: B, C and x side by side.
        state_BKD: B * x of the last K tokens, moved on in place.
        w_DK: taps of each channel, the token's own one last.
        b_D: bias of each channel, or None.
    """
    u_BD, c_BD = _gated_input(z_BE, w_DK.shape[0]), z_BE.chunk(3, -1)[1]
    state_BKD.copy_(torch.cat((state_BKD[:, 1:], u_BD.to(state_BKD.dtype).unsqueeze(1)), 1))
    mixed_BD = (at_least_fp32(state_BKD) * at_least_fp32(w_DK).T).sum(1)
    return (c_BD * (mixed_BD if b_D is None else mixed_BD + b_D)).to(z_BE.dtype)
