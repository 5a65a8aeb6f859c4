"""Causal attention as plain matrix products over blocks of queries, on a CPU.

PyTorch's flash path on a CPU runs at half of what oneDNN's fp32 products reach there and at a tenth of its bf16
ones. Here the weights of a block of queries are one matrix, no larger than the keys it may see. In short contexts
they are kept for backward; in long ones they are made again, so that memory grows with the tokens alone.

B batch, T tokens, H query heads, G key/value heads, R query heads of a group, K width of queries and keys,
V width of values, X pairs of a sequence and a group, Q rows (tokens x R, of a block or of all), S keys seen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.attention.blocked_plan import Plan, make_plan
from harmony_core.models.ops.matmul import product
from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast


@functools.lru_cache(maxsize=256)
def _mask(keys_before: int, queries: int, repeats: int, window: int | None, dtype: torch.dtype) -> Tensor:
    """0 where a query sees a key and -inf elsewhere, [Q, S]; rows are (token, head of the group)."""
    with torch.inference_mode(False):
        distance = torch.arange(queries)[:, None] + keys_before - torch.arange(keys_before + queries)
        hidden = (distance < 0) if window is None else (distance < 0) | (distance >= window)
        mask = torch.zeros(distance.shape, dtype=dtype).masked_fill_(hidden, float("-inf"))
        return mask.repeat_interleave(repeats, 0)


def _grouped(x_BTHK: Tensor, groups: int) -> Tensor:
    """A view [B, G, T, R, K]."""
    grouped: Tensor = x_BTHK.unflatten(2, (groups, -1)).transpose(1, 2)
    return grouped


def _rows(x_BGTRK: Tensor, part: tuple[slice, slice], dtype: torch.dtype, plan: Plan) -> Tensor:
    """[X, Q, K] of a part: a token's heads become rows beside each other."""
    x_XQK = x_BGTRK[part].to(dtype).flatten(2, 3).flatten(0, 1)
    # oneDNN is a thousand times slower on a weight whose rows are apart.
    return x_XQK.contiguous() if plan.single else x_XQK


def _product(x_XMK: Tensor, y_XNK: Tensor, plan: Plan) -> Tensor:
    """x y^T for each of X: [X, M, N]."""
    return product(x_XMK[0], y_XNK[0]).unsqueeze(0) if plan.single else torch.bmm(x_XMK, y_XNK.mT)


def _transposed_product(w_XQS: Tensor, x_XQK: Tensor, plan: Plan) -> Tensor:
    """w^T x for each of X: [X, S, K]."""
    # For oneDNN a transposed matrix costs nothing as the second operand, a pass over it as the first.
    return product(x_XQK[0].T, w_XQS[0].T).T.unsqueeze(0) if plan.single else torch.bmm(w_XQS.mT, x_XQK)


def _key_gradient(x_XTK: Tensor, plan: Plan) -> Tensor:
    """Zeros [X, T, K], at least fp32 since many blocks of queries add to them; laid out as `_transposed_product`."""
    pairs, length, width = x_XTK.shape
    shape = (pairs, width, length) if plan.single else (pairs, length, width)
    zeros = torch.zeros(shape, dtype=torch.promote_types(x_XTK.dtype, torch.float32), device=x_XTK.device)
    return zeros.mT if plan.single else zeros


def _sinks_of(sinks_GR: Tensor | None, part: tuple[slice, slice], batch: int) -> Tensor | None:
    """[X, R] of a part."""
    if sinks_GR is None:
        return None
    sequences = len(range(batch)[part[0]])
    return sinks_GR[part[1]].expand(sequences, -1, -1).flatten(0, 1)


def _weights(q_XQK: Tensor, k_XSK: Tensor, queries: int, plan: Plan, sinks_XR: Tensor | None) -> Tensor:
    """The weights [X, Q, S] of a block of so many tokens, which are the last of the keys."""
    scores_XQS = _product(q_XQK, k_XSK, plan)
    before, repeats = k_XSK.shape[1] - queries, q_XQK.shape[1] // queries
    # Without a window every key before the block is seen, and only the block's own need a mask.
    masked = before if plan.window is None else 0
    scores_XQS[..., masked:] += _mask(before - masked, queries, repeats, plan.window, scores_XQS.dtype)
    if sinks_XR is None:
        return torch._softmax(scores_XQS, -1, False, out=scores_XQS)
    most_XQ1 = scores_XQS.amax(-1, keepdim=True)
    torch._softmax(scores_XQS, -1, False, out=scores_XQS)
    # The softmax's sum over e^most is one over its largest weight; the sink adds its own term to it.
    beside_XQ1 = (sinks_XR.repeat(1, queries).unsqueeze(-1) - most_XQ1).exp_()
    return scores_XQS.div_(beside_XQ1.mul_(scores_XQS.amax(-1, keepdim=True)).add_(1))


def _forward_part(
    q_XQK: Tensor, k_XTK: Tensor, v_XTV: Tensor, plan: Plan, sinks_XR: Tensor | None
) -> tuple[Tensor, list[Tensor]]:
    """The outputs [X, Q, V], and the blocks' weights where they are kept."""
    length, kept = k_XTK.shape[1], []
    repeats = q_XQK.shape[1] // length
    y_XQV = q_XQK.new_empty(*q_XQK.shape[:2], v_XTV.shape[2])
    for first, start, end in plan.blocks(length):
        rows = slice(start * repeats, end * repeats)
        weights_XQS = _weights(q_XQK[:, rows], k_XTK[:, first:end], end - start, plan, sinks_XR)
        y_XQV[:, rows] = _product(weights_XQS, v_XTV[:, first:end].mT, plan)
        if plan.kept:
            kept.append(weights_XQS)
    return y_XQV, kept


def _backward_part(
    q_XQK: Tensor,
    k_XTK: Tensor,
    v_XTV: Tensor,
    dy_XQV: Tensor,
    plan: Plan,
    kept: Iterator[Tensor],
    sinks_XR: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The gradients of queries (before their scale), keys, values and sinks."""
    length = k_XTK.shape[1]
    repeats = q_XQK.shape[1] // length
    dq_XQK = torch.empty_like(q_XQK)
    dk_XTK, dv_XTV = _key_gradient(k_XTK, plan), _key_gradient(v_XTV, plan)
    dsinks_XR = None if sinks_XR is None else torch.zeros_like(sinks_XR)
    for first, start, end in plan.blocks(length):
        rows, keys = slice(start * repeats, end * repeats), slice(first, end)
        block = (q_XQK[:, rows], k_XTK[:, keys], end - start, plan, sinks_XR)
        weights_XQS = next(kept) if plan.kept else _weights(*block)
        dv_XTV[:, keys] += _transposed_product(weights_XQS, dy_XQV[:, rows], plan)
        dweights_XQS = _product(dy_XQV[:, rows], v_XTV[:, keys], plan)
        dscores_XQS = torch._softmax_backward_data(dweights_XQS, weights_XQS, -1, weights_XQS.dtype)
        if dsinks_XR is not None:
            # A softmax's gradients add up to nothing, the sink's among them.
            dsinks_XR -= dscores_XQS.sum(-1, dtype=dsinks_XR.dtype).unflatten(1, (-1, repeats)).sum(1)
        dq_XQK[:, rows] = _product(dscores_XQS, k_XTK[:, keys].mT, plan)
        dk_XTK[:, keys] += _transposed_product(dscores_XQS, q_XQK[:, rows], plan)
    return dq_XQK, dk_XTK, dv_XTV, dsinks_XR


class _BlockedAttention(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        q_BTHK: Tensor,
        k_BTGK: Tensor,
        v_BTGV: Tensor,
        sinks_H: Tensor | None,
        scale: float,
        plan: Plan,
        dtype: torch.dtype,
    ) -> Tensor:
        batch, _, groups = k_BTGK.shape[:3]
        sinks_GR = None if sinks_H is None else at_least_fp32(sinks_H).view(groups, -1)
        inputs = [_grouped(x, groups) for x in (q_BTHK, k_BTGK, v_BTGV)]
        y_BTHV = torch.empty((*q_BTHK.shape[:3], v_BTGV.shape[3]), dtype=dtype, device=q_BTHK.device)
        y_BGTRV, kept = _grouped(y_BTHV, groups), []
        for part in plan.parts(batch, groups):
            q_XQK, k_XTK, v_XTV = (_rows(x, part, dtype, plan) for x in inputs)
            y_XQV, weights = _forward_part(q_XQK * scale, k_XTK, v_XTV, plan, _sinks_of(sinks_GR, part, batch))
            y_BGTRV[part] = y_XQV.view_as(y_BGTRV[part])
            kept.extend(weights)
        ctx.save_for_backward(q_BTHK, k_BTGK, v_BTGV, sinks_GR, *kept)
        ctx.sinks_type = None if sinks_H is None else sinks_H.dtype
        ctx.scale, ctx.plan, ctx.dtype = scale, plan, dtype
        return y_BTHV

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHV: Tensor) -> tuple[Tensor | None, ...]:
        # They are read once, since activation checkpointing gives them once.
        saved = ctx.saved_tensors
        inputs, sinks_GR, kept = saved[:3], saved[3], iter(saved[4:])
        dsinks_GR = None if sinks_GR is None else torch.zeros_like(sinks_GR)
        batch, _, groups = inputs[1].shape[:3]
        gradients = [torch.empty_like(x, memory_format=torch.contiguous_format) for x in inputs]
        grouped, targets = ([_grouped(x, groups) for x in tensors] for tensors in ((*inputs, dy_BTHV), gradients))
        for part in ctx.plan.parts(batch, groups):
            q_XQK, k_XTK, v_XTV, dy_XQV = (_rows(x, part, ctx.dtype, ctx.plan) for x in grouped)
            sinks_XR = _sinks_of(sinks_GR, part, batch)
            *found, dsinks_XR = _backward_part(q_XQK * ctx.scale, k_XTK, v_XTV, dy_XQV, ctx.plan, kept, sinks_XR)
            found[0].mul_(ctx.scale)
            if dsinks_GR is not None and dsinks_XR is not None:
                of_part = dsinks_GR[part[1]]
                of_part += dsinks_XR.view(-1, *of_part.shape).sum(0)
            for target, gradient in zip(targets, found, strict=True):
                target[part] = gradient.view(target[part].shape)
        dsinks_H = None if dsinks_GR is None else dsinks_GR.flatten().to(ctx.sinks_type)
        return *gradients, dsinks_H, None, None, None


def blocked_attention(
    q_BTHK: Tensor,
    k_BTGK: Tensor,
    v_BTGV: Tensor,
    scale: float,
    window: int | None = None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Each token attends to itself and those before it, at most `window` in all.

    Args:
        q_BTHK: queries; heads of a group are neighbours.
        k_BTGK: keys.
        v_BTGV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included; None is all.
        sinks_H: a score of each head that takes weight and has no value, or none.

    Returns:
        [B, T, H, V]; under autocast in the autocast type.
    """
    dtype = compute_dtype(q_BTHK)
    plan = make_plan(q_BTHK, k_BTGK.shape[2], window, dtype, torch.is_grad_enabled())
    inputs = (q_BTHK, k_BTGK, v_BTGV, sinks_H)
    return _BlockedAttention.apply(*inputs, scale, plan, dtype)  # type: ignore[no-any-return, no-untyped-call]
