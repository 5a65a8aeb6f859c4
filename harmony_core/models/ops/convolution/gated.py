"""The heart of a Hyena operator: y = x2 * (h conv (x1 * v) + s (x1 * v)), gates and convolution in one backward pass.

B batch, T tokens, D channels, E the 3D joined channels in the order x2, x1, v; G filter groups, K taps, D = G x C.
How h is convolved is a `Convolution`, of which there are several with one meaning each and the same results.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from harmony_core.models.ops.precision import without_autocast


class Convolution(Protocol):
    """A causal convolution over the tokens, without gradient: forward and backward as two functions.

    `filters` are the fp32 tensors that the filter is made of; how many and of which shape is each kind's own.
    """

    def forward(self, u_BTD: Tensor, *filters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(h conv u) fp32 [B, T, D], and what `backward` wants to be kept."""

    def backward(self, dy_BTD: Tensor, u_BTD: Tensor, kept: tuple[Tensor, ...], *filters: Tensor) -> tuple[Tensor, ...]:
        """Gradients of the inputs and of each filter tensor, in the order of `forward`.

        Args:
            dy_BTD: fp32, gradient of the outputs.
            u_BTD: fp32, the inputs.
            kept: what `forward` wanted to be kept.
            filters: as `forward` took them.
        """


def convolution_reference(u_BTD: Tensor, h_GK: Tensor) -> Tensor:
    """y_t = sum_k h[:, k] u_{t-k}: tap 0 is the token itself, a row of `h_GK` serves D / G neighbouring channels."""
    taps, width = h_GK.shape[1], u_BTD.shape[2]
    w_D1K = h_GK.flip(1).repeat_interleave(width // h_GK.shape[0], 0).unsqueeze(1)
    padded_BDT = torch.nn.functional.pad(u_BTD.mT, (taps - 1, 0))
    return torch.nn.functional.conv1d(padded_BDT, w_D1K.to(u_BTD.dtype), groups=width).mT


def gated_convolution_reference(z_BTE: Tensor, h_GK: Tensor, skip_D: Tensor | None = None) -> Tensor:
    """The formula, for filters with a weight for each lag.

    Args:
        z_BTE: x2, x1 and v side by side.
        h_GK: taps, lag 0 first; a row serves D / G neighbouring channels.
        skip_D: factor of the direct term; None is none.
    """
    x2_BTD, x1_BTD, v_BTD = z_BTE.chunk(3, -1)
    u_BTD = x1_BTD * v_BTD
    y_BTD = convolution_reference(u_BTD, h_GK)
    return x2_BTD * (y_BTD if skip_D is None else y_BTD + skip_D * u_BTD)


class _Convolve(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, u_BTD: Tensor, convolution: Convolution, *filters: Tensor) -> Tensor:
        u, fp32 = u_BTD.float(), tuple(tensor.float() for tensor in filters)
        y_BTD, kept = convolution.forward(u, *fp32)
        ctx.convolution, ctx.num_filters = convolution, len(filters)
        ctx.types = (u_BTD.dtype, *(tensor.dtype for tensor in filters))
        ctx.save_for_backward(u, *fp32, *kept)
        return y_BTD.to(u_BTD.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTD: Tensor) -> tuple[Tensor | None, ...]:
        u_BTD, *rest = ctx.saved_tensors
        filters, kept = rest[: ctx.num_filters], tuple(rest[ctx.num_filters :])
        gradients = ctx.convolution.backward(dy_BTD.float().contiguous(), u_BTD, kept, *filters)
        du, *dfilters = (gradient.to(dtype) for gradient, dtype in zip(gradients, ctx.types, strict=True))
        return du, None, *dfilters


def convolve(u_BTD: Tensor, convolution: Convolution, *filters: Tensor) -> Tensor:
    """The convolution alone, fp32 inside, [B, T, D] in and out in the type of `u_BTD`.

    Args:
        u_BTD: the inputs.
        convolution: how h is convolved.
        filters: what h is made of, as `convolution` wants it.
    """
    return _Convolve.apply(u_BTD, convolution, *filters)  # type: ignore[no-any-return, no-untyped-call]


class _GatedConvolution(torch.autograd.Function):
    """Keeps z and the convolved product; x1 * v is made again, and dz is written once."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, z_BTE: Tensor, skip_D: Tensor | None, convolution: Convolution, *filters: Tensor) -> Tensor:
        x2_BTD, x1_BTD, v_BTD = z_BTE.float().chunk(3, -1)
        u_BTD, fp32 = x1_BTD * v_BTD, tuple(tensor.float() for tensor in filters)
        mixed_BTD, kept = convolution.forward(u_BTD, *fp32)
        if skip_D is not None:
            mixed_BTD.addcmul_(u_BTD, skip_D.float())
        ctx.convolution, ctx.num_filters = convolution, len(filters)
        ctx.types = tuple(tensor.dtype for tensor in filters)
        ctx.save_for_backward(z_BTE, skip_D, mixed_BTD, *fp32, *kept)
        return (x2_BTD * mixed_BTD).to(z_BTE.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTD: Tensor) -> tuple[Tensor | None, ...]:
        z_BTE, skip_D, mixed_BTD, *rest = ctx.saved_tensors
        filters, kept = rest[: ctx.num_filters], tuple(rest[ctx.num_filters :])
        x2_BTD, x1_BTD, v_BTD = z_BTE.float().chunk(3, -1)
        dy_BTD = dy_BTD.float()
        dmixed_BTD, u_BTD = dy_BTD * x2_BTD, x1_BTD * v_BTD
        du_BTD, *dfilters = ctx.convolution.backward(dmixed_BTD, u_BTD, kept, *filters)
        dskip_D = None
        if skip_D is not None:
            dskip_D = column_sums(dmixed_BTD * u_BTD).to(skip_D.dtype)
            du_BTD = du_BTD.addcmul_(dmixed_BTD, skip_D.float())
        dz_BTE = torch.empty(z_BTE.shape, dtype=torch.float32, device=z_BTE.device)
        dx2_BTD, dx1_BTD, dv_BTD = dz_BTE.chunk(3, -1)
        torch.mul(dy_BTD, mixed_BTD, out=dx2_BTD)
        torch.mul(du_BTD, v_BTD, out=dx1_BTD)
        torch.mul(du_BTD, x1_BTD, out=dv_BTD)
        typed = (gradient.to(dtype) for gradient, dtype in zip(dfilters, ctx.types, strict=True))
        return dz_BTE.to(z_BTE.dtype), dskip_D, None, *typed


def gated_convolution(z_BTE: Tensor, skip_D: Tensor | None, convolution: Convolution, *filters: Tensor) -> Tensor:
    """x2 * (h conv (x1 * v) + skip (x1 * v)), fp32 inside; [B, T, 3D] in, [B, T, D] out in the type of `z_BTE`.

    Args:
        z_BTE: x2, x1 and v side by side.
        skip_D: factor of the direct term; None is none.
        convolution: how h is convolved.
        filters: what h is made of, as `convolution` wants it.
    """
    return _GatedConvolution.apply(z_BTE, skip_D, convolution, *filters)  # type: ignore[no-any-return, no-untyped-call]


def column_sums(x_BTD: Tensor) -> Tensor:
    """Sums over all rows, [D]: a matrix-vector product, which is faster than a reduction over leading dimensions."""
    x_RD = x_BTD.flatten(0, -2)
    return torch.mv(x_RD.T, x_RD.new_ones(x_RD.shape[0]))
