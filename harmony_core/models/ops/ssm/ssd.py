"""The state space dual scan of Mamba-2 in chunks (arXiv:2405.21060, section 6 and listing 1).

B batch, T tokens, H heads, P head width, G groups, R heads of a group, N state width, Q tokens of a chunk, F = R P.
Within a chunk the scan is a masked matrix product; the state goes from chunk to chunk, so cost and memory are
linear in T. Only the states between chunks are kept for backward, which computes each chunk again: a chunk's tensors
stay in a CPU's cache, which is worth more than the products saved.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harmony_core.models.kernels import scan_chunk
from harmony_core.models.ops.precision import compute_dtype, without_autocast
from harmony_core.models.ops.running_sum import running_sum
from harmony_core.models.ops.ssm import ssd_chunk
from harmony_core.models.ops.ssm.ssd_chunk import Chunk


def ssd_reference(
    x_BTHP: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTGN: Tensor, c_BTGN: Tensor, skip_H: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence token by token: h = exp(dt a) h + dt x B^T, y = h C + skip x; for tests.

    Arguments as for `ssd`.
    """
    heads, repeats = x_BTHP.shape[2], x_BTHP.shape[2] // b_BTGN.shape[2]
    b_BTHN, c_BTHN = b_BTGN.repeat_interleave(repeats, 2), c_BTGN.repeat_interleave(repeats, 2)
    state_BHPN = x_BTHP.new_zeros(x_BTHP.shape[0], heads, x_BTHP.shape[3], b_BTGN.shape[3])
    outputs = []
    for t in range(x_BTHP.shape[1]):
        decay_BH11 = torch.exp(dt_BTH[:, t] * a_H)[..., None, None]
        update_BHPN = (dt_BTH[:, t, :, None] * x_BTHP[:, t])[..., None] * b_BTHN[:, t, :, None]
        state_BHPN = decay_BH11 * state_BHPN + update_BHPN
        outputs.append((state_BHPN @ c_BTHN[:, t, :, :, None]).squeeze(-1) + skip_H[:, None] * x_BTHP[:, t])
    return torch.stack(outputs, 1), state_BHPN


def ssd(
    x_BTHP: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTGN: Tensor, c_BTGN: Tensor, skip_H: Tensor, chunk: int
) -> tuple[Tensor, Tensor]:
    """The scan of every head, starting from a state of zeros.

    Args:
        x_BTHP: inputs.
        dt_BTH: step sizes, positive, fp32.
        a_H: decay rates, negative, fp32.
        b_BTGN: input maps; a group serves H / G consecutive heads.
        c_BTGN: output maps.
        skip_H: what of x goes straight to the output.
        chunk: tokens Q of a chunk; a CPU takes fewer where that is faster.

    Returns:
        y [B, T, H, P] in the type of `x_BTHP`, and the state after the last token, [B, H, P, N] in fp32. Decays and
        states are fp32, products are in the type of `x_BTHP`, or autocast's where that is on.
    """
    keep = torch.is_grad_enabled()
    inputs = (x_BTHP, dt_BTH, a_H, b_BTGN, c_BTGN, skip_H)
    return _SSD.apply(*inputs, chunk, compute_dtype(x_BTHP), keep)  # type: ignore[no-any-return, no-untyped-call]


def ssd_step(
    x_BHP: Tensor, dt_BH: Tensor, a_H: Tensor, b_BGN: Tensor, c_BGN: Tensor, skip_H: Tensor, state_BHPN: Tensor
) -> Tensor:
    """One token of `ssd`, fp32: y [B, H, P].

    Args:
        x_BHP: inputs.
        dt_BH: step sizes, positive.
        a_H: decay rates, negative.
        b_BGN: input maps; a group serves H / G consecutive heads.
        c_BGN: output maps.
        skip_H: what of x goes straight to the output.
        state_BHPN: moved on in place.
    """
    groups = b_BGN.shape[1]
    state_BHPN.mul_(torch.exp2(dt_BH * (a_H * math.log2(math.e)))[..., None, None])
    state_BGRPN, step_BGRP1 = state_BHPN.unflatten(1, (groups, -1)), (x_BHP * dt_BH.unsqueeze(-1)).unsqueeze(-1)
    state_BGRPN.addcmul_(step_BGRP1.unflatten(1, (groups, -1)), b_BGN[:, :, None, None])
    # A row times a transposed matrix is ten times as fast as the matrix times a column.
    y_BG1F = c_BGN.unsqueeze(2) @ state_BGRPN.flatten(2, 3).mT
    return torch.addcmul(y_BG1F.view_as(x_BHP), x_BHP, skip_H.unsqueeze(-1))


class _Chunks:
    """Cuts the inputs of a scan, and its gradients, into chunks of tokens."""

    def __init__(self, inputs: tuple[Tensor, ...], chunk: int, dtype: torch.dtype) -> None:
        self.x_BTHP, dt_BTH, a_H, self.b_BTGN, self.c_BTGN, skip_H = inputs
        self.batch, length, heads, self.width = self.x_BTHP.shape
        self.groups, self.state, self.dtype = *self.b_BTGN.shape[2:], dtype
        self.heads = (self.groups, heads // self.groups)
        self.dt_BHT = dt_BTH.mT.contiguous()
        self.log_BHT = self.dt_BHT * (a_H * math.log2(math.e)).unsqueeze(-1)
        self.skip_GR11 = skip_H.float().view(*self.heads, 1, 1)
        chunk = scan_chunk(dt_BTH.device.type, chunk)
        self.spans = [slice(t, min(t + chunk, length)) for t in range(0, length, chunk)]

    def __call__(self, span: slice) -> Chunk:
        dt_BHQ, log_BHQ = self.dt_BHT[..., span], running_sum(self.log_BHT[..., span], -1)
        b_BGQN, c_BGQN = (t[:, span].transpose(1, 2).to(self.dtype) for t in (self.b_BTGN, self.c_BTGN))
        dt_BGRQ, log_BGRQ = (t.unflatten(1, self.heads) for t in (dt_BHQ, log_BHQ))
        return Chunk(self.headed(self.x_BTHP, span), dt_BGRQ, log_BGRQ, b_BGQN, c_BGQN, self.skip_GR11)

    def empty_state(self) -> Tensor:
        """[B, G, N, F]."""
        shape = (self.batch, self.groups, self.state, self.heads[1] * self.width)
        return torch.zeros(shape, device=self.x_BTHP.device)

    def headed(self, x_BTHP: Tensor, span: slice) -> Tensor:
        """A chunk of it, [B, G, R, Q, P], a view."""
        x_BGRQP: Tensor = x_BTHP[:, span].transpose(1, 2).unflatten(1, self.heads)
        return x_BGRQP


class _SSD(torch.autograd.Function):
    """y_i = sum_j<=i exp(L_i - L_j) (c_i b_j) (dt_j x_j) + skip x_i, L the cumulative sum of log decays."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, chunk, dtype, keep = arguments
        chunks = _Chunks(tuple(inputs), chunk, dtype)
        y_BTHP, states = torch.empty_like(inputs[0], memory_format=torch.contiguous_format), []
        state_BGNF = chunks.empty_state()
        for span in chunks.spans:
            if keep:
                states.append(state_BGNF)
            y_BGRQP, state_BGNF = ssd_chunk.forward(chunks(span), state_BGNF)
            chunks.headed(y_BTHP, span).copy_(y_BGRQP)
        ctx.save_for_backward(*inputs, *states)
        ctx.chunk, ctx.dtype = chunk, dtype
        ctx.set_materialize_grads(False)
        return y_BTHP, _by_head(state_BGNF, chunks.heads[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTHP: Tensor | None, dlast_BHPN: Tensor | None) -> tuple[Tensor | None, ...]:
        # They are read once, since activation checkpointing gives them once.
        saved = ctx.saved_tensors
        inputs, states = saved[:6], saved[6:]
        chunks = _Chunks(inputs, ctx.chunk, ctx.dtype)
        dx, db, dc = (torch.empty_like(inputs[i], memory_format=torch.contiguous_format) for i in (0, 3, 4))
        dy = torch.zeros_like(dx) if dy_BTHP is None else dy_BTHP
        ddt_BHT, dlog_BHT = torch.empty_like(chunks.dt_BHT), torch.empty_like(chunks.dt_BHT)
        dskip_GR = torch.zeros(chunks.heads, device=dx.device)
        dstate = chunks.empty_state() if dlast_BHPN is None else _by_column(dlast_BHPN, chunks.groups)
        for span, state in zip(reversed(chunks.spans), reversed(states), strict=True):
            grads, dstate = ssd_chunk.backward(chunks(span), state, chunks.headed(dy, span), dstate)
            chunks.headed(dx, span).copy_(grads.dx_BGRQP)
            db[:, span], dc[:, span] = grads.db_BGQN.transpose(1, 2), grads.dc_BGQN.transpose(1, 2)
            ddt_BHT[..., span] = grads.ddt_BGRQ.flatten(1, 2)
            # A token's decay stands in every sum from its own on.
            dlog_BHT[..., span] = running_sum(grads.dlog_BGRQ.flip(-1), -1).flip(-1).flatten(1, 2)
            dskip_GR += grads.dskip_GR
        ddt_BTH = ddt_BHT.addcmul_(dlog_BHT, inputs[2].unsqueeze(-1)).mT
        da_H = (dlog_BHT * chunks.dt_BHT).sum((0, 2))
        return dx, ddt_BTH, da_H, db, dc, dskip_GR.flatten().to(inputs[5].dtype), None, None, None


def _by_head(state_BGNF: Tensor, heads: int) -> Tensor:
    """[B, H, P, N]."""
    state_BGNRP: Tensor = state_BGNF.unflatten(-1, (heads, -1))
    return state_BGNRP.permute(0, 1, 3, 4, 2).flatten(1, 2)


def _by_column(state_BHPN: Tensor, groups: int) -> Tensor:
    """The inverse of `_by_head`."""
    state_BGRPN: Tensor = state_BHPN.unflatten(1, (groups, -1))
    return state_BGRPN.permute(0, 1, 4, 2, 3).flatten(3)
