"""Attention of one new token to a cache: decoding, without gradient.

B batch, G key/value heads, R query heads of a group, K width of queries and keys, V width of values, C tokens seen,
X = B G.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa

from harmony_core.models.kernels import keys_first


def attend_cached(
    q_BGRK: Tensor, k_BGCK: Tensor, v_BGCV: Tensor, scale: float, sinks_GR: Tensor | None = None
) -> Tensor:
    """The new token attends to all of the cache: [B, G, R, V].

    Args:
        q_BGRK: its queries; the heads of a group are rows of one small product with the group's keys.
        k_BGCK: the keys so far, a slice of the cache.
        v_BGCV: the values so far.
        scale: factor of the scores.
        sinks_GR: a score of each head that takes weight and has no value, or none.
    """
    if sinks_GR is not None:
        return _with_sinks(q_BGRK * scale, k_BGCK, v_BGCV, sinks_GR)
    if not keys_first(q_BGRK, k_BGCK.shape[2]):
        return sdpa(q_BGRK, k_BGCK, v_BGCV, scale=scale)
    q_XKR = (q_BGRK * scale).flatten(0, 1).mT
    weights_XCR = torch.softmax(torch.bmm(k_BGCK.flatten(0, 1), q_XKR), 1)
    y_XRV = torch.bmm(weights_XCR.mT, v_BGCV.flatten(0, 1))
    return y_XRV.view(*q_BGRK.shape[:3], v_BGCV.shape[3])


def _with_sinks(q_BGRK: Tensor, k_BGCK: Tensor, v_BGCV: Tensor, sinks_GR: Tensor) -> Tensor:
    scores_BGRC = (q_BGRK @ k_BGCK.mT).float()
    sinks_BGR1 = sinks_GR.float().expand(len(q_BGRK), -1, -1).unsqueeze(-1)
    weights_BGRC = torch.cat((scores_BGRC, sinks_BGR1), -1).softmax(-1)[..., :-1]
    return weights_BGRC.to(v_BGCV.dtype) @ v_BGCV
