"""The state space dual scan of Mamba-2 in chunks (arXiv:2405.21060, section 6 and listing 1).

B batch, T tokens, H heads, P head width, G groups, R heads of a group, N state width, Z chunks,
Q tokens of a chunk, S = B Z chunks of all sequences, F = R P.
No loop over time and none over chunks: within a chunk the scan is a masked matrix product, and the
states that enter the chunks are the states that chunks add, summed with a matrix of decays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import compute_dtype, without_autocast


def ssd_reference(x_BTHP: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTGN: Tensor, c_BTGN: Tensor) -> Tensor:
    """The recurrence token by token: h = exp(dt a) h + dt x B^T, y = h C; for tests."""
    heads, repeats = x_BTHP.shape[2], x_BTHP.shape[2] // b_BTGN.shape[2]
    b_BTHN, c_BTHN = b_BTGN.repeat_interleave(repeats, 2), c_BTGN.repeat_interleave(repeats, 2)
    state_BHPN = x_BTHP.new_zeros(x_BTHP.shape[0], heads, x_BTHP.shape[3], b_BTGN.shape[3])
    outputs = []
    for t in range(x_BTHP.shape[1]):
        decay_BH11 = torch.exp(dt_BTH[:, t] * a_H)[..., None, None]
        update_BHPN = (dt_BTH[:, t, :, None] * x_BTHP[:, t])[..., None] * b_BTHN[:, t, :, None]
        state_BHPN = decay_BH11 * state_BHPN + update_BHPN
        outputs.append((state_BHPN @ c_BTHN[:, t, :, :, None]).squeeze(-1))
    return torch.stack(outputs, 1)


def ssd(x_BTHP: Tensor, dt_BTH: Tensor, a_H: Tensor, b_BTGN: Tensor, c_BTGN: Tensor, chunk: int) -> Tensor:
    """The scan of every head, starting from a state of zeros.

    Args:
        x_BTHP: inputs.
        dt_BTH: step sizes, positive, fp32.
        a_H: decay rates, negative, fp32.
        b_BTGN: input maps; a group serves H / G consecutive heads.
        c_BTGN: output maps.
        chunk: tokens Q of a chunk.

    Returns:
        [B, T, H, P]; decays are fp32, products are in the type of `x_BTHP`, or autocast's where that is on.
    """
    length = x_BTHP.shape[1]
    chunk = min(chunk, length)
    padding = -length % chunk
    if padding:
        # A step of size zero neither decays nor adds.
        x_BTHP, b_BTGN, c_BTGN = (
            torch.nn.functional.pad(t, (0, 0, 0, 0, 0, padding)) for t in (x_BTHP, b_BTGN, c_BTGN)
        )
        dt_BTH = torch.nn.functional.pad(dt_BTH, (0, 0, 0, padding))
    dtype = compute_dtype(x_BTHP)
    with torch.autocast(x_BTHP.device.type, enabled=False):
        log_BTH = dt_BTH * a_H
    y = _SSD.apply(x_BTHP, dt_BTH, log_BTH, b_BTGN, c_BTGN, chunk, dtype)  # type: ignore[no-untyped-call]
    return y[:, :length]  # type: ignore[no-any-return]


class _SSD(torch.autograd.Function):
    """y_i = sum_j<=i exp(L_i - L_j) (c_i b_j) (dt_j x_j), L the cumulative sum of log decays within a chunk.

    Backward is by hand. A log decay's gradient is a difference of two large sums: both are taken over the same
    products, so that what should cancel does, in bf16 too.
    """

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, log: Tensor, b: Tensor, c: Tensor, chunk: int, dtype: torch.dtype
    ) -> Tensor:
        batch, groups = x.shape[0], b.shape[2]
        b_SGQN, c_SGQN = _grouped(b.to(dtype), chunk), _grouped(c.to(dtype), chunk)
        u_SGRQP = _headed((x * dt.unsqueeze(-1)).to(dtype), chunk, groups)
        log_SGRQ = _headed(log.unsqueeze(-1), chunk, groups).squeeze(-1).cumsum(-1)
        decay_SGRQQ = _within_decay(log_SGRQ).to(dtype)
        mix_SGRQQ = decay_SGRQQ * _products(c_SGQN, b_SGQN).unsqueeze(2)
        y_SGRQP = mix_SGRQQ @ u_SGRQP
        between = _between_decay(log_SGRQ[..., -1], batch).to(dtype)
        added_SGNF = b_SGQN.mT @ _joined(u_SGRQP * _to_end(log_SGRQ, dtype))
        entering_SGNF = _pass_on(between, added_SGNF, batch)
        carried_SGRQP = _parted(c_SGQN @ entering_SGNF, u_SGRQP) * _from_start(log_SGRQ, dtype)
        y_SGRQP += carried_SGRQP
        ctx.save_for_backward(
            x, dt, b_SGQN, c_SGQN, u_SGRQP, log_SGRQ, decay_SGRQQ, between, added_SGNF, entering_SGNF, carried_SGRQP
        )
        ctx.chunk, ctx.types = chunk, (b.dtype, c.dtype)
        return _natural(y_SGRQP, x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, dt, b_SGQN, c_SGQN, u_SGRQP, log_SGRQ, decay_SGRQQ, between, added_SGNF, entering_SGNF, carried = (
            ctx.saved_tensors
        )
        batch, dtype = x.shape[0], u_SGRQP.dtype
        dy_SGRQP = _headed(dy.to(dtype), ctx.chunk, b_SGQN.shape[1])
        dcarried_SGQF = _joined(dy_SGRQP * _from_start(log_SGRQ, dtype))
        dentering_SGNF = c_SGQN.mT @ dcarried_SGQF
        dadded_SGNF = _pass_on(between.mT, dentering_SGNF, batch)
        du_later_SGRQP = _parted(b_SGQN @ dadded_SGNF, u_SGRQP) * _to_end(log_SGRQ, dtype)
        dlog_SGRQ = _sum(dy_SGRQP * carried)
        given_SGRQ = _sum(du_later_SGRQP * u_SGRQP)
        dlog_SGRQ -= given_SGRQ
        dlog_SGRQ[..., -1] += given_SGRQ.sum(-1) + _total_gradient(between, dentering_SGNF, added_SGNF, batch)

        mix_SGRQQ = decay_SGRQQ * _products(c_SGQN, b_SGQN).unsqueeze(2)
        du_SGRQP = (mix_SGRQQ.mT @ dy_SGRQP).add_(du_later_SGRQP)
        dmix_SGRQQ = dy_SGRQP @ u_SGRQP.mT
        mix_SGRQQ *= dmix_SGRQQ
        dlog_SGRQ += _sum(mix_SGRQQ) - mix_SGRQQ.sum(-2, dtype=torch.float32)
        dproducts_SGQQ = dmix_SGRQQ.mul_(decay_SGRQQ).sum(2)

        dc = dproducts_SGQQ @ b_SGQN + dcarried_SGQF @ entering_SGNF.mT
        db = dproducts_SGQQ.mT @ c_SGQN + _joined(u_SGRQP * _to_end(log_SGRQ, dtype)) @ dadded_SGNF.mT
        shape_b = (*x.shape[:2], *b_SGQN.shape[1::2])
        db, dc = (t.transpose(1, 2).reshape(shape_b).to(kind) for t, kind in zip((db, dc), ctx.types, strict=True))
        du = _natural(du_SGRQP, x.shape)
        dlog = _natural(dlog_SGRQ.flip(-1).cumsum(-1).flip(-1).unsqueeze(-1), (*x.shape[:3], 1)).squeeze(-1)
        return (du * dt.unsqueeze(-1)).to(x.dtype), _sum(du * x), dlog, db, dc, None, None


def _sum(x: Tensor) -> Tensor:
    """Over the last dimension, in fp32."""
    return x.sum(-1, dtype=torch.float32)


def _to_end(log_SGRQ: Tensor, dtype: torch.dtype) -> Tensor:
    """What is left of each token's addition at the end of its chunk: [S, G, R, Q, 1]."""
    return torch.exp(log_SGRQ[..., -1:] - log_SGRQ).to(dtype).unsqueeze(-1)


def _from_start(log_SGRQ: Tensor, dtype: torch.dtype) -> Tensor:
    """What is left of the entering state at each token: [S, G, R, Q, 1]."""
    return torch.exp(log_SGRQ).to(dtype).unsqueeze(-1)


def _grouped(x_BTGN: Tensor, chunk: int) -> Tensor:
    """[S, G, Q, N]."""
    return x_BTGN.reshape(-1, chunk, *x_BTGN.shape[2:]).transpose(1, 2).contiguous()


def _headed(x_BTHP: Tensor, chunk: int, groups: int) -> Tensor:
    """[S, G, R, Q, P]."""
    x_SHQP = x_BTHP.reshape(-1, chunk, *x_BTHP.shape[2:]).transpose(1, 2).contiguous()
    x_SGRQP: Tensor = x_SHQP.unflatten(1, (groups, -1))
    return x_SGRQP


def _natural(x_SGRQP: Tensor, shape: Sequence[int]) -> Tensor:
    """The inverse of `_headed`."""
    return x_SGRQP.flatten(1, 2).transpose(1, 2).reshape(tuple(shape))


def _joined(x_SGRQP: Tensor) -> Tensor:
    """The heads of a group side by side: [S, G, Q, F]."""
    return x_SGRQP.transpose(2, 3).flatten(3)


def _parted(x_SGQF: Tensor, like_SGRQP: Tensor) -> Tensor:
    """The inverse of `_joined`."""
    x_SGQRP: Tensor = x_SGQF.unflatten(-1, (like_SGRQP.shape[2], -1))
    return x_SGQRP.transpose(2, 3)


def _products(c_SGQN: Tensor, b_SGQN: Tensor) -> Tensor:
    """c_i b_j of every pair in a chunk: [S, G, Q, Q]."""
    return c_SGQN @ b_SGQN.mT


def _within_decay(log_SGRQ: Tensor) -> Tensor:
    """exp(L_i - L_j) for j <= i, else 0: [S, G, R, Q, Q]."""
    chunk = log_SGRQ.shape[-1]
    future_QQ = torch.full((chunk, chunk), float("-inf"), device=log_SGRQ.device).triu_(1)
    return (log_SGRQ.unsqueeze(-1) - log_SGRQ.unsqueeze(-2)).add_(future_QQ).exp_()


def _between_decay(total_SGR: Tensor, batch: int) -> Tensor:
    """How much of what chunk y added is left when chunk z begins, y < z, else 0: [B H, Z, Z]."""
    total_BHZ = total_SGR.flatten(1).unflatten(0, (batch, -1)).transpose(1, 2)
    chunks = total_BHZ.shape[-1]
    # Row z, column y sums the totals of the chunks between them; a sum per pair keeps long sequences exact.
    below = torch.ones(chunks, chunks, dtype=torch.bool, device=total_SGR.device).tril_(-1)
    shifted = torch.nn.functional.pad(total_BHZ, (1, 0))[..., :-1]
    spans = shifted.unsqueeze(-1).expand(*shifted.shape, chunks).masked_fill(~below.tril(-2), 0.0)
    return spans.cumsum(-2).exp().masked_fill(~below, 0.0).flatten(0, 1)


def _by_head(x_SGNF: Tensor, per_group: int, batch: int) -> Tensor:
    """[B, G, R, Z, N, P]."""
    groups, state, width = x_SGNF.shape[1:]
    by_chunk = x_SGNF.view(batch, -1, groups, state, per_group, width // per_group)
    return by_chunk.permute(0, 2, 4, 1, 3, 5)


def _pass_on(between_XZZ: Tensor, added_SGNF: Tensor, batch: int) -> Tensor:
    """Sums over chunks with the decays of each head (X = B H): [S, G, N, F] in and out."""
    heads, chunks = between_XZZ.shape[:2]
    if chunks == 1:
        return torch.zeros_like(added_SGNF)
    by_head = _by_head(added_SGNF, heads // (batch * added_SGNF.shape[1]), batch)
    summed = between_XZZ @ by_head.reshape(heads, chunks, -1)
    return summed.view(by_head.shape).permute(0, 3, 1, 4, 2, 5).reshape(added_SGNF.shape)


def _total_gradient(between_XZZ: Tensor, dentering_SGNF: Tensor, added_SGNF: Tensor, batch: int) -> Tensor:
    """The gradient of each chunk's summed log decay through `_pass_on`: [S, G, R].

    A chunk's decay stands between every chunk before it and every chunk after it.
    """
    heads, chunks = between_XZZ.shape[:2]
    groups = added_SGNF.shape[1]
    per_group = heads // (batch * groups)
    shape = (batch, groups, per_group, chunks)
    if chunks == 1:
        return added_SGNF.new_zeros(added_SGNF.shape[0], groups, per_group, dtype=torch.float32)
    after, before = (_by_head(t, per_group, batch).reshape(heads, chunks, -1) for t in (dentering_SGNF, added_SGNF))
    pairs_XZZ = (after @ before.mT).float() * between_XZZ.float()
    crossing_XZZ = pairs_XZZ.flip(1).cumsum(1).flip(1).cumsum(2)
    # Chunk w is crossed by the pairs z > w > y: those at row w + 1 and column w - 1 of the double sum.
    total_XZ = torch.nn.functional.pad(crossing_XZZ[:, 2:].diagonal(dim1=1, dim2=2), (1, 1))
    return total_XZ.view(shape).permute(0, 3, 1, 2).reshape(-1, groups, per_group)
