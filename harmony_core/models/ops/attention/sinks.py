"""Attention sinks: a learned score of each head in the softmax's denominator (gpt-oss 2025, arXiv:2508.10925).

For kernels that know no sinks it is one more key before all others: queries get an element that is the sink over the
scale, its key has a one there, and its value is zero.

B batch, H query heads, G key/value heads, T tokens, S keys, K width of queries and keys, V width of values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import pad

from harmony_core.models.ops.attention.fused import fused_attention


def attend_masked(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSV: Tensor,
    scale: float,
    mask: Tensor | None,
    sinks_H: Tensor | None,
) -> Tensor:
    """SDPA under a mask, with sinks or without: [B, H, T, V].

    Without a mask the queries are those of the last T keys, and each sees its own key and all before it; so it is with
    a sink's key too, which comes first.

    Args:
        q_BHTK: queries; the heads of a group are neighbours.
        k_BGSK: keys.
        v_BGSV: values.
        scale: factor of the scores.
        mask: bool [.., T, S], what a query sees; None is the keys up to its own.
        sinks_H: a score of each head that takes weight and has no value, or none.
    """
    if sinks_H is not None:
        q_BHTK, k_BGSK, v_BGSV = _with_sink_key(q_BHTK, k_BGSK, v_BGSV, sinks_H, scale)
        mask = None if mask is None else pad(mask, (1, 0), value=True)
    seen = causal_lower_right(q_BHTK.shape[2], k_BGSK.shape[2]) if mask is None else mask
    return fused_attention(q_BHTK, k_BGSK, v_BGSV, scale, attn_mask=seen)


def _with_sink_key(
    q_BHTK: Tensor, k_BGSK: Tensor, v_BGSV: Tensor, sinks_H: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values with the sink's key first; widths stay a multiple of 8, as kernels want them."""
    more = 8 - q_BHTK.shape[3] % 8
    sinks_H1J = pad((sinks_H / scale).to(q_BHTK.dtype)[:, None, None], (0, more - 1))
    q = torch.cat((q_BHTK, sinks_H1J.expand(*q_BHTK.shape[:3], -1)), 3)
    k = pad(k_BGSK, (0, more, 1, 0))
    marks_S1 = (torch.arange(k.shape[2], device=k.device) == 0).to(k.dtype).unsqueeze(1)
    k = k + pad(marks_S1, (q_BHTK.shape[3], more - 1))
    return q, k, pad(v_BGSV, (0, 0, 1, 0))
