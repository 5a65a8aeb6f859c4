"""All-to-all: some tokens of all channels become all tokens of some channels, and back; and gathering of all tokens.

B batch, T tokens of the whole sequence, N ranks, I = T / N tokens of a rank, P parts side by side, D channels of each,
C = D / N channels of a rank's share.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from harmony_core.models.context_parallel.group import ContextParallel


def _exchange(x_N: Tensor, cp: ContextParallel) -> Tensor:
    """Entry n goes to rank n; entry n of the answer came from there."""
    x_N = x_N.contiguous()
    received_N = torch.empty_like(x_N)
    dist.all_to_all_single(received_N, x_N, group=cp.group)
    return received_N


def _in_order(x_NBI: Tensor, cp: ContextParallel) -> Tensor:
    """[N, B, I, ..] of the ranks as the sequence [B, T, ..]."""
    pieces: Tensor = x_NBI.transpose(0, 1).unflatten(2, (cp.pieces_per_rank, -1)).flatten(1, 2)
    held = [piece for rank in range(cp.size) for piece in cp.pieces(rank)]
    return pieces[:, [held.index(piece) for piece in range(len(held))]].flatten(1, 2)


def _by_rank(x_BT: Tensor, cp: ContextParallel) -> Tensor:
    """The sequence [B, T, ..] as the ranks hold it, [N, B, I, ..]."""
    held = [piece for rank in range(cp.size) for piece in cp.pieces(rank)]
    x_BNPQ: Tensor = x_BT.unflatten(1, (len(held), -1))[:, held].unflatten(1, (cp.size, -1))
    return x_BNPQ.flatten(2, 3).transpose(0, 1)


def _tokens_to_channels(x_BIE: Tensor, parts: int, cp: ContextParallel) -> Tensor:
    x_BIPNC = x_BIE.unflatten(2, (parts, cp.size, -1))
    return _in_order(_exchange(x_BIPNC.permute(3, 0, 1, 2, 4), cp), cp).flatten(2)


def _channels_to_tokens(y_BTE: Tensor, parts: int, cp: ContextParallel) -> Tensor:
    y_NBIPC: Tensor = _exchange(_by_rank(y_BTE, cp), cp).unflatten(3, (parts, -1))
    return y_NBIPC.permute(1, 2, 3, 0, 4).flatten(2)


class _ToChannels(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BIE: Tensor, parts: int, cp: ContextParallel) -> Tensor:
        ctx.parts, ctx.cp = parts, cp
        return _tokens_to_channels(x_BIE, parts, cp)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy_BTE: Tensor) -> tuple[Tensor, None, None]:
        return _channels_to_tokens(dy_BTE, ctx.parts, ctx.cp), None, None


class _ToTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y_BTC: Tensor, cp: ContextParallel) -> Tensor:
        ctx.cp = cp
        return _channels_to_tokens(y_BTC, 1, cp)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dx_BID: Tensor) -> tuple[Tensor, None]:
        return _tokens_to_channels(dx_BID, 1, ctx.cp), None


def to_channels(x_BIE: Tensor, parts: int, cp: ContextParallel) -> Tensor:
    """[B, T / N, parts x D] to [B, T, parts x D / N]: every rank gets its run of channels of each part, all tokens.

    Args:
        x_BIE: this rank's tokens, all channels.
        parts: how many tensors of D channels lie side by side.
        cp: the N ranks of the sequence.
    """
    return _ToChannels.apply(x_BIE, parts, cp)  # type: ignore[no-any-return, no-untyped-call]


def to_tokens(y_BTC: Tensor, cp: ContextParallel) -> Tensor:
    """[B, T, D / N] back to [B, T / N, D]."""
    return _ToTokens.apply(y_BTC, cp)  # type: ignore[no-any-return, no-untyped-call]


class _GatherTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_BI: Tensor, cp: ContextParallel) -> Tensor:
        ctx.cp = cp
        x_NBI = [torch.empty_like(x_BI, memory_format=torch.contiguous_format) for _ in range(cp.size)]
        dist.all_gather(x_NBI, x_BI.contiguous(), group=cp.group)
        return _in_order(torch.stack(x_NBI), cp)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dx_BT: Tensor) -> tuple[Tensor, None]:
        # Every rank read every token: their gradients are added up where the token is.
        return _exchange(_by_rank(dx_BT, ctx.cp), ctx.cp).sum(0), None


def gather_tokens(x_BI: Tensor, cp: ContextParallel) -> Tensor:
    """[B, T / N, ..] of each rank to the whole sequence [B, T, ..] on all of them."""
    return _GatherTokens.apply(x_BI, cp)  # type: ignore[no-any-return, no-untyped-call]
