"""The short causal convolution of the Mamba blocks: each channel with its own taps, then SiLU.

B batch, T tokens, C channels, K taps (the last one is the token itself).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from harmony_core.models.kernels import conv_kernel
from harmony_core.models.ops.convolution.kernels import run_conv_kernel
from harmony_core.models.ops.precision import at_least_fp32, without_autocast


def conv_silu_reference(x_BTC: Tensor, w_CK: Tensor, b_C: Tensor | None) -> Tensor:
    """PyTorch's grouped convolution over the sequence padded on its left; arguments as for `conv_silu`."""
    taps = w_CK.shape[1]
    padded_BCT = torch.nn.functional.pad(x_BTC.mT, (taps - 1, 0))
    y_BCT = torch.nn.functional.conv1d(padded_BCT, w_CK.unsqueeze(1), b_C, groups=w_CK.shape[0])
    return silu(y_BCT.mT)


class _ConvSiLU(torch.autograd.Function):
    """A sum of shifted products: no transposition to channels first, no im2col."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, x_BTC: Tensor, w_CK: Tensor, b_C: Tensor | None) -> Tensor:
        x, w_KC = x_BTC.float(), w_CK.float().T.contiguous()
        taps, length = w_KC.shape[0], x.shape[1]
        before = x * w_KC[-1] if b_C is None else torch.addcmul(b_C.float(), x, w_KC[-1])
        for lag in range(1, min(taps, length)):
            before[:, lag:].addcmul_(x[:, : length - lag], w_KC[-1 - lag])
        ctx.save_for_backward(x, w_KC, before)
        ctx.types, ctx.biased = (x_BTC.dtype, w_CK.dtype), b_C is not None
        return silu(before).to(x_BTC.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTC: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        x, w_KC, before = ctx.saved_tensors
        taps, length = w_KC.shape[0], x.shape[1]
        d_before = torch.ops.aten.silu_backward(dy_BTC.float(), before)
        dx, dw_KC = d_before * w_KC[-1], torch.zeros_like(w_KC)
        dw_KC[-1] = (d_before * x).sum((0, 1))
        for lag in range(1, min(taps, length)):
            dx[:, : length - lag].addcmul_(d_before[:, lag:], w_KC[-1 - lag])
            dw_KC[-1 - lag] = (d_before[:, lag:] * x[:, : length - lag]).sum((0, 1))
        db_C = d_before.sum((0, 1)).to(ctx.types[1]) if ctx.biased else None
        return dx.to(ctx.types[0]), dw_KC.T.to(ctx.types[1]), db_C


def conv_silu(x_BTC: Tensor, w_CK: Tensor, b_C: Tensor | None) -> Tensor:
    """silu(b + sum_k w[:, k] x[t - K + 1 + k]), fp32 inside, in the type of `x_BTC`.

    Args:
        x_BTC: inputs.
        w_CK: taps of each channel, the token's own one last.
        b_C: bias of each channel, or None.
    """
    kernel = conv_kernel(x_BTC.device.type, w_CK.shape[1])
    if kernel is not None:
        return run_conv_kernel(kernel, x_BTC, w_CK, b_C)
    return _ConvSiLU.apply(x_BTC, w_CK, b_C)  # type: ignore[no-any-return, no-untyped-call]


def last_inputs(x_BTC: Tensor, taps: int) -> Tensor:
    """What `conv_silu_step` remembers after these tokens: the last K of them, zeros before the first; [B, K, C]."""
    recent_BKC = x_BTC[:, -taps:]
    return torch.nn.functional.pad(recent_BKC, (0, 0, taps - recent_BKC.shape[1], 0))


def conv_silu_step(x_BC: Tensor, state_BKC: Tensor, w_CK: Tensor, b_C: Tensor | None) -> Tensor:
    """One token of `conv_silu`: [B, C] in the type of `x_BC`.

    Args:
        x_BC: its inputs.
        state_BKC: the last K inputs, moved on in place.
        w_CK: taps of each channel, the token's own one last.
        b_C: bias of each channel, or None.
    """
    state_BKC.copy_(torch.cat((state_BKC[:, 1:], x_BC.to(state_BKC.dtype).unsqueeze(1)), 1))
    before_BC = (at_least_fp32(state_BKC) * at_least_fp32(w_CK).T).sum(1)
    return silu(before_BC if b_C is None else before_BC.add_(b_C)).to(x_BC.dtype)
