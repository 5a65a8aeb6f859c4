"""Causal softmax attention with grouped key/value heads.

B batch, H query heads, G key/value heads, T tokens, K width of queries and keys, V width of values.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention as sdpa


def attention_reference(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float, window: int | None) -> Tensor:
    """Every score, a mask, a softmax in fp32: [B, H, T, V]."""
    repeats = q_BHTK.shape[1] // k_BGTK.shape[1]
    k_BHTK, v_BHTV = k_BGTK.repeat_interleave(repeats, 1), v_BGTV.repeat_interleave(repeats, 1)
    scores_BHTT = (q_BHTK @ k_BHTK.mT).float() * scale
    visible_TT = visible(q_BHTK.shape[2], window, q_BHTK.device)
    weights_BHTT = scores_BHTT.masked_fill(~visible_TT, float("-inf")).softmax(-1)
    return weights_BHTT.to(v_BHTV.dtype) @ v_BHTV


def visible(length: int, window: int | None, device: torch.device) -> Tensor:
    """Boolean [T, T]: whether query i sees key j, that is j <= i and i - j < window."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def causal_attention(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float) -> Tensor:
    """Each token attends to itself and all tokens before it: [B, H, T, V]."""
    return sdpa(q_BHTK, k_BGTK, v_BGTV, is_causal=True, scale=scale, enable_gqa=q_BHTK.shape[1] != k_BGTK.shape[1])
