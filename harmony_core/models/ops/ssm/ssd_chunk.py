"""One chunk of the state space dual scan (arXiv:2405.21060, section 6), forwards and backwards.

B sequences, G groups, R heads of a group, Q tokens of the chunk, P head width, N state width, F = R P.

Decays are powers of two: on a CPU `exp` goes to a library that is 4 times slower than `exp2`, and 50 times where
the result underflows, which is what strong decays do.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harmony_core.models.ops.ssm.batched_matmul import batched


class Chunk(NamedTuple):
    """What a chunk computes from.

    Args:
        x_BGRQP: inputs, of any strides.
        dt_BGRQ: step sizes, fp32.
        log_BGRQ: logarithms to base 2 of the decay from before the chunk's first token to after each token, fp32.
        b_BGQN: input maps, in the type of the products.
        c_BGQN: output maps, in the type of the products.
        skip_GR11: what of x goes straight to the output, fp32.
    """

    x_BGRQP: Tensor
    dt_BGRQ: Tensor
    log_BGRQ: Tensor
    b_BGQN: Tensor
    c_BGQN: Tensor
    skip_GR11: Tensor


class ChunkGradients(NamedTuple):
    """Gradients of a chunk, in fp32 but for those that the products give."""

    dx_BGRQP: Tensor
    ddt_BGRQ: Tensor
    dlog_BGRQ: Tensor
    db_BGQN: Tensor
    dc_BGQN: Tensor
    dskip_GR: Tensor


def forward(chunk: Chunk, state_BGNF: Tensor) -> tuple[Tensor, Tensor]:
    """The outputs [B, G, R, Q, P] and the fp32 state after the chunk, from the fp32 state before it."""
    x, dtype = chunk.x_BGRQP, chunk.b_BGQN.dtype
    within_BGRQP = _mix(chunk) @ _steps(chunk)
    carried_BGRQP = _parted(batched(chunk.c_BGQN, state_BGNF.to(dtype)), x)
    y_BGRQP = torch.addcmul(within_BGRQP, carried_BGRQP, _from_start(chunk).unsqueeze(-1))
    y_BGRQP = y_BGRQP.addcmul_(x, chunk.skip_GR11)
    added_BGNF = batched(chunk.b_BGQN.mT, _weighed(x, _left_at_end(chunk), dtype))
    return y_BGRQP, torch.addcmul(added_BGNF, state_BGNF, _total(chunk, x))


def backward(chunk: Chunk, state_BGNF: Tensor, dy_BGRQP: Tensor, dstate_BGNF: Tensor) -> tuple[ChunkGradients, Tensor]:
    """The gradients, and the one of the state before the chunk, from those of the outputs and the state after it.

    A log decay's gradient is a difference of two large sums: both are taken over the same products, so that what
    should cancel does, in bf16 too.

    Args:
        chunk: as for `forward`.
        state_BGNF: fp32, the state before the chunk.
        dy_BGRQP: gradient of the outputs.
        dstate_BGNF: fp32, gradient of the state after the chunk.
    """
    x, dt, dtype = chunk.x_BGRQP, chunk.dt_BGRQ, chunk.b_BGQN.dtype
    b_BGQN, c_BGQN, total_BG1F = chunk.b_BGQN, chunk.c_BGQN, _total(chunk, x)
    state_cast, dstate_cast = state_BGNF.to(dtype), dstate_BGNF.to(dtype)
    dcarried_BGQF = _weighed(dy_BGRQP, _from_start(chunk), dtype)
    dlog_BGRQ = _sum(_parted(dcarried_BGQF * batched(c_BGQN, state_cast), x))
    later_BGRQP = _parted(batched(b_BGQN, dstate_cast), x) * _to_end(chunk).unsqueeze(-1)
    given_BGRQ = _sum(later_BGRQP * x) * dt
    kept_BG1F = torch.mul(dstate_BGNF, state_BGNF).sum(2, keepdim=True).mul_(total_BG1F)
    dlog_BGRQ -= given_BGRQ
    dlog_BGRQ[..., -1] += given_BGRQ.sum(-1) + _parted(kept_BG1F, x).sum((3, 4))
    du_BGRQP, dlog_within_BGRQ, db_BGQN, dc_BGQN = _within_gradients(chunk, dy_BGRQP.to(dtype))
    dlog_BGRQ += dlog_within_BGRQ
    du_BGRQP = later_BGRQP.add_(du_BGRQP)
    dc_BGQN += batched(dcarried_BGQF, state_cast.mT)
    db_BGQN += batched(_weighed(x, _left_at_end(chunk), dtype), dstate_cast.mT)
    ddt_BGRQ, dskip_GR = _sum(du_BGRQP * x), _sum(dy_BGRQP * x).sum((0, 3))
    dx_BGRQP = du_BGRQP.mul_(dt.unsqueeze(-1)).addcmul_(dy_BGRQP, chunk.skip_GR11)
    gradients = ChunkGradients(dx_BGRQP, ddt_BGRQ, dlog_BGRQ, db_BGQN, dc_BGQN, dskip_GR)
    return gradients, torch.addcmul(batched(c_BGQN.mT, dcarried_BGQF), dstate_BGNF, total_BG1F)


def _within_gradients(chunk: Chunk, dy_BGRQP: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of what the chunk's tokens give each other: with respect to dt x, log decays, B and C."""
    dy_BGRQP = dy_BGRQP.contiguous()
    decay_BGRQQ = _decay(chunk)
    mix_BGRQQ = decay_BGRQQ * (chunk.c_BGQN @ chunk.b_BGQN.mT).unsqueeze(2)
    du_BGRQP = mix_BGRQQ.mT @ dy_BGRQP
    dmix_BGRQQ = dy_BGRQP @ _steps(chunk).mT
    mix_BGRQQ *= dmix_BGRQQ
    dlog_BGRQ = _sum(mix_BGRQQ) - mix_BGRQQ.sum(-2, dtype=torch.float32)
    dproducts_BGQQ = dmix_BGRQQ.mul_(decay_BGRQQ).sum(2)
    return du_BGRQP, dlog_BGRQ, dproducts_BGQQ.mT @ chunk.c_BGQN, dproducts_BGQQ @ chunk.b_BGQN


def _decay(chunk: Chunk) -> Tensor:
    """What is left of token j's addition at token i, 0 for j > i: [B, G, R, Q, Q] in the type of the products."""
    log_BGRQ, length = chunk.log_BGRQ, chunk.log_BGRQ.shape[-1]
    future_QQ = torch.full((length, length), float("-inf"), device=log_BGRQ.device).triu_(1)
    return (log_BGRQ.unsqueeze(-1) - log_BGRQ.unsqueeze(-2)).add_(future_QQ).exp2_().to(chunk.b_BGQN.dtype)


def _mix(chunk: Chunk) -> Tensor:
    """c_i b_j times the decay between them: [B, G, R, Q, Q]."""
    return _decay(chunk).mul_((chunk.c_BGQN @ chunk.b_BGQN.mT).unsqueeze(2))


def _steps(chunk: Chunk) -> Tensor:
    """dt x, contiguous: [B, G, R, Q, P] in the type of the products."""
    u_BGRQP = torch.empty_like(chunk.x_BGRQP, dtype=chunk.b_BGQN.dtype, memory_format=torch.contiguous_format)
    return torch.mul(chunk.x_BGRQP, chunk.dt_BGRQ.unsqueeze(-1), out=u_BGRQP)


def _from_start(chunk: Chunk) -> Tensor:
    """What is left of the entering state at each token: [B, G, R, Q]."""
    return chunk.log_BGRQ.exp2()


def _to_end(chunk: Chunk) -> Tensor:
    """What is left of each token's addition at the end of the chunk: [B, G, R, Q]."""
    return (chunk.log_BGRQ[..., -1:] - chunk.log_BGRQ).exp2_()


def _left_at_end(chunk: Chunk) -> Tensor:
    """`_to_end` times the step size."""
    return _to_end(chunk).mul_(chunk.dt_BGRQ)


def _total(chunk: Chunk, x_BGRQP: Tensor) -> Tensor:
    """The decay of the whole chunk, for each column of the state: [B, G, 1, F]."""
    total_BGR1 = chunk.log_BGRQ[..., -1:].exp2()
    return total_BGR1.expand(*total_BGR1.shape[:3], x_BGRQP.shape[-1]).flatten(2).unsqueeze(2)


def _weighed(x_BGRQP: Tensor, weight_BGRQ: Tensor, dtype: torch.dtype) -> Tensor:
    """x times a weight of each token and head, the heads of a group side by side: [B, G, Q, F], contiguous."""
    batch, groups, heads, length, width = x_BGRQP.shape
    y_BGQRP = torch.empty(batch, groups, length, heads, width, device=x_BGRQP.device, dtype=dtype)
    torch.mul(x_BGRQP.transpose(2, 3), weight_BGRQ.transpose(2, 3).unsqueeze(-1), out=y_BGQRP)
    return y_BGQRP.flatten(3)


def _parted(x_BGQF: Tensor, like_BGRQP: Tensor) -> Tensor:
    """The heads of a group apart: [B, G, R, Q, P], a view."""
    x_BGQRP: Tensor = x_BGQF.unflatten(-1, (like_BGRQP.shape[2], -1))
    return x_BGQRP.transpose(2, 3)


def _sum(x: Tensor) -> Tensor:
    """Over the last dimension, in fp32."""
    return x.sum(-1, dtype=torch.float32)
