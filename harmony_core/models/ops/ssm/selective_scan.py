"""The selective scan of Mamba-1 (Gu and Dao 2023, arXiv:2312.00752, algorithm 2), a decay per channel and state.

B batch, T tokens, I channels, N state width, Q tokens of a chunk.
The states of a chunk are made, read and forgotten: only those between chunks are kept for backward, which makes the
others again. Channels are the last dimension, so that every pass runs along memory.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from harmony_core import tiling
from harmony_core.models.ops.precision import at_least_fp32, without_autocast


def selective_scan_reference(
    x_BTI: Tensor, dt_BTI: Tensor, a_IN: Tensor, b_BTN: Tensor, c_BTN: Tensor, skip_I: Tensor
) -> tuple[Tensor, Tensor]:
    """The recurrence token by token: h = exp(dt a) h + dt x b, y = h c + skip x; for tests.

    Arguments as for `selective_scan`.
    """
    state_BNI, outputs = x_BTI.new_zeros(x_BTI.shape[0], *a_IN.T.shape), []
    for t in range(x_BTI.shape[1]):
        dt_B1I, x_BI = dt_BTI[:, t].unsqueeze(1), x_BTI[:, t]
        state_BNI = torch.exp(dt_B1I * a_IN.T) * state_BNI + dt_B1I * x_BI.unsqueeze(1) * b_BTN[:, t].unsqueeze(-1)
        outputs.append((state_BNI * c_BTN[:, t].unsqueeze(-1)).sum(1) + skip_I * x_BI)
    return torch.stack(outputs, 1), state_BNI.mT


def selective_scan(
    x_BTI: Tensor,
    dt_BTI: Tensor,
    a_IN: Tensor,
    b_BTN: Tensor,
    c_BTN: Tensor,
    skip_I: Tensor,
    continued_BT: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The scan of every channel, starting from a state of zeros; computed in fp32, or in fp64 where it is given that.

    Args:
        x_BTI: inputs.
        dt_BTI: step sizes, positive.
        a_IN: decay rates, negative.
        b_BTN: input maps.
        c_BTN: output maps.
        skip_I: what of x goes straight to the output.
        continued_BT: bool, false where the state begins anew; None is nowhere.

    Returns:
        y [B, T, I] in the type of `x_BTI`, and the state after the last token, [B, I, N] in fp32, without gradient.
    """
    inputs = (x_BTI, dt_BTI, a_IN, b_BTN, c_BTN, skip_I)
    return _SelectiveScan.apply(*inputs, continued_BT, torch.is_grad_enabled())  # type: ignore[no-any-return, no-untyped-call]


def scan_step(
    x_BI: Tensor, dt_BI: Tensor, a_log_IN: Tensor, b_BN: Tensor, c_BN: Tensor, skip_I: Tensor, state_BIN: Tensor
) -> Tensor:
    """One token of `selective_scan`, fp32: y [B, I].

    Args:
        x_BI: inputs.
        dt_BI: step sizes, positive.
        a_log_IN: decay rates a = -exp(a_log).
        b_BN: input maps.
        c_BN: output maps.
        skip_I: what of x goes straight to the output.
        state_BIN: moved on in place.
    """
    rate_BI1 = (dt_BI * -math.log2(math.e)).unsqueeze(-1)
    state_BIN.mul_((rate_BI1 * torch.exp(a_log_IN)).exp2_())
    state_BIN.addcmul_((dt_BI * x_BI).unsqueeze(-1), b_BN.unsqueeze(1))
    # A row times a transposed matrix is ten times as fast as the matrix times a column.
    return torch.addcmul((c_BN.unsqueeze(1) @ state_BIN.mT).squeeze(1), x_BI, skip_I)


class _SelectiveScan(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, *arguments: Any) -> tuple[Tensor, Tensor]:
        *inputs, continued_BT, keep = arguments
        x, dt, a_IN, b, c, skip_I = (at_least_fp32(t) for t in inputs)
        work, states = _Work(x, a_IN, buffers=2, continued_BT=continued_BT), []
        state_BNI, y_BTI = x.new_zeros(x.shape[0], *a_IN.T.shape), skip_I * x
        for span in work.spans:
            if keep:
                states.append(state_BNI)
            _, h_BQNI = work.run(span, dt[:, span], dt[:, span] * x[:, span], b[:, span], state_BNI)
            y_BTI[:, span] += (c[:, span].unsqueeze(2) @ h_BQNI).squeeze(2)
            state_BNI = h_BQNI[:, -1].clone()
        ctx.save_for_backward(*inputs, *states)
        ctx.continued_BT = continued_BT
        last_BIN = state_BNI.mT.contiguous()
        ctx.mark_non_differentiable(last_BIN)
        ctx.set_materialize_grads(False)
        return y_BTI.to(inputs[0].dtype), last_BIN

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_BTI: Tensor, _: None) -> tuple[Tensor | None, ...]:
        # They are read once, since activation checkpointing gives them once.
        saved = ctx.saved_tensors
        inputs, states = saved[:6], saved[6:]
        x, dt, a_IN, b, c, skip_I = (at_least_fp32(t) for t in inputs)
        dy, work = at_least_fp32(dy_BTI), _Work(x, a_IN, buffers=3, continued_BT=ctx.continued_BT)
        carry_BNI, da_NI = torch.zeros_like(states[0]), torch.zeros_like(work.a_NI)
        du, ddt, db, dc = torch.empty_like(x), torch.empty_like(x), torch.empty_like(b), torch.empty_like(c)
        for span, state_BNI in zip(reversed(work.spans), reversed(states), strict=True):
            u_BQI = dt[:, span] * x[:, span]
            decay_BQNI, h_BQNI = work.run(span, dt[:, span], u_BQI, b[:, span], state_BNI)
            g_BQNI = work.run_back(dy[:, span], c[:, span], carry_BNI)
            # A row times a transposed matrix is ten times as fast as the matrix times a column.
            dc[:, span] = (dy[:, span].unsqueeze(2) @ h_BQNI.mT).squeeze(2)
            db[:, span] = (u_BQI.unsqueeze(2) @ g_BQNI.mT).squeeze(2)
            du[:, span] = (b[:, span].unsqueeze(2) @ g_BQNI).squeeze(2)
            carry_BNI = decay_BQNI[:, 0] * g_BQNI[:, 0]
            dlog_BQNI = decay_BQNI.mul_(g_BQNI)
            dlog_BQNI[:, 1:] *= h_BQNI[:, :-1]
            dlog_BQNI[:, 0] *= state_BNI
            ddt[:, span] = torch.mul(dlog_BQNI, work.a_NI, out=g_BQNI).sum(2)
            da_NI += dlog_BQNI.mul_(dt[:, span].unsqueeze(2)).sum((0, 1))
        dskip_I = (dy * x).sum((0, 1))
        ddt.addcmul_(du, x)
        dx = du.mul_(dt).addcmul_(dy, skip_I)
        gradients = (dx, ddt, da_NI.T, db, dc, dskip_I)
        return *(g.to(t.dtype) for g, t in zip(gradients, inputs, strict=True)), None, None


class _Work:
    """What one chunk is computed in: decays, states and where asked the states' gradients, [B, Q, N, I] each."""

    def __init__(self, x_BTI: Tensor, a_IN: Tensor, buffers: int, continued_BT: Tensor | None) -> None:
        batch, length, _ = x_BTI.shape
        self.continued_BT11 = None if continued_BT is None else continued_BT[..., None, None]
        self.a_NI = a_IN.T.contiguous()
        self.rate_NI = self.a_NI * math.log2(math.e)
        chunk = min(length, max(1, tiling.SCAN_STATES // (batch * a_IN.numel())))
        self.spans = [slice(t, min(t + chunk, length)) for t in range(0, length, chunk)]
        self.buffers = x_BTI.new_empty(buffers, batch, chunk, *self.a_NI.shape, dtype=x_BTI.dtype)

    def run(
        self, span: slice, dt_BQI: Tensor, u_BQI: Tensor, b_BQN: Tensor, state_BNI: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Decays and states of a chunk's tokens, which are those of the span."""
        length = dt_BQI.shape[1]
        decay_BQNI, h_BQNI = self.buffers[0, :, :length], self.buffers[1, :, :length]
        torch.mul(dt_BQI.unsqueeze(2), self.rate_NI, out=decay_BQNI).exp2_()
        if self.continued_BT11 is not None:
            decay_BQNI *= self.continued_BT11[:, span]
        torch.mul(u_BQI.unsqueeze(2), b_BQN.unsqueeze(-1), out=h_BQNI)
        for t in range(length):
            h_BQNI[:, t].addcmul_(decay_BQNI[:, t], h_BQNI[:, t - 1] if t else state_BNI)
        return decay_BQNI, h_BQNI

    def run_back(self, dy_BQI: Tensor, c_BQN: Tensor, carry_BNI: Tensor) -> Tensor:
        """The states' gradients g_t = dy_t c_t + decay_{t+1} g_{t+1}; `carry_BNI` is the last one's second term."""
        length = dy_BQI.shape[1]
        decay_BQNI, g_BQNI = self.buffers[0, :, :length], self.buffers[2, :, :length]
        torch.mul(dy_BQI.unsqueeze(2), c_BQN.unsqueeze(-1), out=g_BQNI)
        g_BQNI[:, -1] += carry_BNI
        for t in range(length - 2, -1, -1):
            g_BQNI[:, t].addcmul_(decay_BQNI[:, t + 1], g_BQNI[:, t + 1])
        return g_BQNI
