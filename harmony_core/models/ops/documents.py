"""Operators that keep documents apart: plain PyTorch on every device, beside the faster forms without boundaries.

B batch, T tokens, H query heads, G key/value heads or groups of heads, K and V head widths, C channels, P head width,
R heads of a group, N state width, Q tokens of a chunk.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, silu

from harmony_core.models.documents import Documents
from harmony_core.models.ops.attention.sinks import attend_masked
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.models.ops.running_sum import running_sum
from harmony_core.tiling import SCAN_CHUNK


def attend_documents(
    q_BTHK: Tensor,
    k_BTGK: Tensor,
    v_BTGV: Tensor,
    scale: float,
    window: int | None,
    documents: Documents,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """`attend` under a mask that is block-diagonal and causal: [B, T, H, V].

    Args:
        q_BTHK: queries; the heads of a group are neighbours.
        k_BTGK: keys.
        v_BTGV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included; None is all of its document.
        documents: kept apart from each other.
        sinks_H: a score of each head that takes weight and has no value, or none.
    """
    q_BHTK, k_BGTK, v_BGTV = (x.transpose(1, 2) for x in (q_BTHK, k_BTGK, v_BTGV))
    mask_B1TT = documents.visible(window).unsqueeze(1)
    return attend_masked(q_BHTK, k_BGTK, v_BGTV, scale, mask_B1TT, sinks_H).transpose(1, 2)


@without_autocast
def convolve_documents(x_BTC: Tensor, w_CK: Tensor, documents: Documents) -> Tensor:
    """sum_k w[:, k] x[t - K + 1 + k] over taps that reach the same document, [B, T, C] in fp32 at least.

    A pass over all tokens for each tap: for short filters.

    Args:
        x_BTC: inputs.
        w_CK: taps of each channel, the token's own one last.
        documents: kept apart from each other.
    """
    x_BTC, w_CK = at_least_fp32(x_BTC), at_least_fp32(w_CK)
    length, taps = x_BTC.shape[1], w_CK.shape[1]
    y_BTC = x_BTC * w_CK[:, -1]
    for lag in range(1, min(taps, length)):
        before_BTC = pad(x_BTC[:, : length - lag], (0, 0, lag, 0))
        y_BTC = y_BTC + before_BTC * documents.same(lag).unsqueeze(-1) * w_CK[:, -1 - lag]
    return y_BTC


def conv_silu_documents(x_BTC: Tensor, w_CK: Tensor, b_C: Tensor | None, documents: Documents) -> Tensor:
    """`conv_silu` over taps that reach the same document, in the type of `x_BTC`.

    Args:
        x_BTC: inputs.
        w_CK: taps of each channel, the token's own one last.
        b_C: bias of each channel, or None.
        documents: kept apart from each other.
    """
    before_BTC = convolve_documents(x_BTC, w_CK, documents)
    return silu(before_BTC if b_C is None else before_BTC + b_C).to(x_BTC.dtype)


@without_autocast
def ssd_documents(
    x_BTHP: Tensor,
    dt_BTH: Tensor,
    a_H: Tensor,
    b_BTGN: Tensor,
    c_BTGN: Tensor,
    skip_H: Tensor,
    chunk: int,
    documents: Documents,
) -> Tensor:
    """The scan of `ssd` with a state of zeros at each document's beginning: y [B, T, H, P] in the type of `x_BTHP`.

    Within a chunk a token adds to those of its document alone; a chunk's first document takes the state before it,
    and its last one leaves the state behind it.

    Args:
        x_BTHP: inputs.
        dt_BTH: step sizes, positive.
        a_H: decay rates, negative.
        b_BTGN: input maps; a group serves H / G consecutive heads.
        c_BTGN: output maps.
        skip_H: what of x goes straight to the output.
        chunk: tokens Q of a chunk, at most 64.
        documents: kept apart from each other.
    """
    heads = (b_BTGN.shape[2], x_BTHP.shape[2] // b_BTGN.shape[2])
    x, dt, a_H, b, c, skip_H = (at_least_fp32(t) for t in (x_BTHP, dt_BTH, a_H, b_BTGN, c_BTGN, skip_H))
    u, log = (x * dt.unsqueeze(-1)).unflatten(2, heads), (dt * a_H).unflatten(2, heads)
    chunk, length = min(chunk, SCAN_CHUNK), x.shape[1]
    state_BGRPN = x.new_zeros(x.shape[0], *heads, x.shape[3], b.shape[3])
    number_BT, outputs = documents.number_BT, []
    for start in range(0, length, chunk):
        span = slice(start, min(start + chunk, length))
        number_BQ = number_BT[:, span]
        log_BQGR = running_sum(log[:, span], 1)
        within_BQQ = (number_BQ[:, :, None] == number_BQ[:, None]).tril()
        decay_BQQGR = (log_BQGR[:, :, None] - log_BQGR[:, None]).masked_fill(~within_BQQ[..., None, None], -torch.inf)
        mix_BQQGR = decay_BQQGR.exp() * torch.einsum("bign,bjgn->bijg", c[:, span], b[:, span]).unsqueeze(-1)
        y_BQGRP = torch.einsum("bijgr,bjgrp->bigrp", mix_BQQGR, u[:, span])
        entering_BQ = number_BQ == number_BT[:, max(start - 1, 0), None]
        carried_BQGR = log_BQGR.exp() * entering_BQ[..., None, None]
        y_BQGRP = y_BQGRP + torch.einsum("bign,bgrpn,bigr->bigrp", c[:, span], state_BGRPN, carried_BQGR)
        outputs.append(y_BQGRP)
        leaving_BQ = number_BQ == number_BQ[:, -1:]
        left_BQGR = (log_BQGR[:, -1:] - log_BQGR).exp() * leaving_BQ[..., None, None]
        added = torch.einsum("bjgrp,bjgr,bjgn->bgrpn", u[:, span], left_BQGR, b[:, span])
        state_BGRPN = state_BGRPN * carried_BQGR[:, -1, :, :, None, None] + added
    y_BTHP = torch.cat(outputs, 1).flatten(2, 3) + skip_H[:, None] * x
    return y_BTHP.to(x_BTHP.dtype)
