"""Causal attention as plain matrix products over blocks of queries, for short sequences on a CPU.

PyTorch's flash path on a CPU runs at a tenth of what bf16 products reach there, most of all backwards. Here
the weights of a block of queries are one matrix, no larger than the keys it may see, kept for backward.

B batch, T tokens, G key/value heads, R query heads of a group, K width of queries and keys, V width of
values, X = B G, Q rows of a block (tokens of the block x R), S keys that the block sees.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import compute_dtype, without_autocast

BLOCK = 64


def _blocks(length: int, window: int | None) -> Iterator[tuple[int, int, int]]:
    """(first key, first query, end of both) of each block of queries."""
    for start in range(0, length, BLOCK):
        first = 0 if window is None else max(0, start - window + 1)
        yield first, start, min(start + BLOCK, length)


@functools.lru_cache(maxsize=256)
def _mask(keys_before: int, queries: int, repeats: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where a query sees a key and -inf elsewhere, [Q, S]; rows are (token, head of the group)."""
    with torch.inference_mode(False):
        distance = torch.arange(queries)[:, None] + keys_before - torch.arange(keys_before + queries)
        hidden = (distance < 0) if window is None else (distance < 0) | (distance >= window)
        mask = torch.zeros(distance.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
        return mask.repeat_interleave(repeats, 0)


def _rows(x_BTHK: Tensor, groups: int) -> Tensor:
    """[X, T R, K]: a group's query heads become rows beside each other."""
    batch, length, heads, width = x_BTHK.shape
    return x_BTHK.view(batch, length, groups, heads // groups, width).transpose(1, 2).reshape(batch * groups, -1, width)


def _heads(x_XQK: Tensor, batch: int, length: int) -> Tensor:
    """The inverse of `_rows`: [B, T, G R, K]."""
    groups, width = x_XQK.shape[0] // batch, x_XQK.shape[2]
    return x_XQK.view(batch, groups, length, -1, width).transpose(1, 2).reshape(batch, length, -1, width)


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, q_BTHK: Tensor, k_BTGK: Tensor, v_BTGV: Tensor, scale: float, window: int | None, dtype: torch.dtype
    ) -> Tensor:
        batch, length, groups = k_BTGK.shape[:3]
        repeats = q_BTHK.shape[2] // groups
        q_XQK = _rows(q_BTHK.to(dtype) * scale, groups)
        k_XTK, v_XTV = _rows(k_BTGK.to(dtype), groups), _rows(v_BTGV.to(dtype), groups)
        y_XQV = q_XQK.new_empty(q_XQK.shape[0], q_XQK.shape[1], v_XTV.shape[2])
        weights = []
        for first, start, end in _blocks(length, window):
            rows = slice(start * repeats, end * repeats)
            scores_XQS = torch.bmm(q_XQK[:, rows], k_XTK[:, first:end].mT)
            # Without a window every key before the block is seen, and only the block's own need a mask.
            masked = start if window is None else first
            scores_XQS[..., masked - first :] += _mask(start - masked, end - start, repeats, window, dtype)
            weights.append(torch.softmax(scores_XQS, -1))
            y_XQV[:, rows] = torch.bmm(weights[-1], v_XTV[:, first:end])
        ctx.save_for_backward(q_XQK, k_XTK, v_XTV, *weights)
        ctx.scale, ctx.window, ctx.batch = scale, window, batch
        ctx.types = (q_BTHK.dtype, k_BTGK.dtype, v_BTGV.dtype)
        return _heads(y_XQV, batch, length)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHV: Tensor) -> tuple[Tensor | None, ...]:
        q_XQK, k_XTK, v_XTV, *weights = ctx.saved_tensors
        length = k_XTK.shape[1]
        repeats = q_XQK.shape[1] // length
        dy_XQV = _rows(dy_BTHV.to(q_XQK.dtype), k_XTK.shape[0] // ctx.batch)
        dq_XQK = torch.empty_like(q_XQK)
        # Keys and values gather what many blocks of queries say: summed in fp32.
        dk_XTK, dv_XTV = (torch.zeros_like(x, dtype=torch.float32) for x in (k_XTK, v_XTV))
        for (first, start, end), weights_XQS in zip(_blocks(length, ctx.window), weights, strict=True):
            rows, keys = slice(start * repeats, end * repeats), slice(first, end)
            dv_XTV[:, keys] += torch.bmm(weights_XQS.mT, dy_XQV[:, rows])
            dweights_XQS = torch.bmm(dy_XQV[:, rows], v_XTV[:, keys].mT)
            dscores_XQS = torch._softmax_backward_data(dweights_XQS, weights_XQS, -1, weights_XQS.dtype)
            dq_XQK[:, rows] = torch.bmm(dscores_XQS, k_XTK[:, keys])
            dk_XTK[:, keys] += torch.bmm(dscores_XQS.mT, q_XQK[:, rows])
        dq, dk, dv = (_heads(x, ctx.batch, length) for x in (dq_XQK.mul_(ctx.scale), dk_XTK, dv_XTV))
        return dq.to(ctx.types[0]), dk.to(ctx.types[1]), dv.to(ctx.types[2]), None, None, None


def blocked_attention(
    q_BTHK: Tensor, k_BTGK: Tensor, v_BTGV: Tensor, scale: float, window: int | None = None
) -> Tensor:
    """Each token attends to itself and those before it, at most `window` in all.

    Args:
        q_BTHK: queries; heads of a group are neighbours.
        k_BTGK: keys.
        v_BTGV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included; None is all.

    Returns:
        [B, T, H, V]; under autocast in the autocast type.
    """
    dtype = compute_dtype(q_BTHK)
    return _BlockedAttention.apply(q_BTHK, k_BTGK, v_BTGV, scale, window, dtype)  # type: ignore[no-any-return, no-untyped-call]
