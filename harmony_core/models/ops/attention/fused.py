"""Attention by PyTorch's fused kernels: causal, and with a window without computing far outside of it.

B batch, H query heads, G key/value heads, T tokens, K width of queries and keys, V width of values,
N query blocks, W window.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.functional import scaled_dot_product_attention as sdpa

from harmony_core.models.kernels import flash_widths


def visible(length: int, window: int | None, device: torch.device) -> Tensor:
    """Boolean [T, T]: whether query i sees key j, that is j <= i and i - j < window.

    Args:
        length: T.
        window: tokens that a query sees, itself included; None is all.
        device: of the result.
    """
    position = torch.arange(length, device=device)
    distance = position[:, None] - position
    return (distance >= 0) if window is None else (distance >= 0) & (distance < window)


def one_width(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Zeros behind the narrower of keys and values, which change no score and leave outputs that are cut off again.

    Args:
        q: queries [.., K].
        k: keys [.., K].
        v: values [.., V].
    """
    more = q.shape[-1] - v.shape[-1]
    if more > 0:
        return q, k, pad(v, (0, more))
    return (pad(q, (0, -more)), pad(k, (0, -more)), v) if more else (q, k, v)


def fused_attention(q: Tensor, k: Tensor, v: Tensor, scale: float, **options: Any) -> Tensor:
    """SDPA, whose flash kernels want one width of queries, keys and values: [.., T, V].

    Args:
        q: queries [B, H, T, K].
        k: keys [B, G, S, K].
        v: values [B, G, S, V].
        scale: factor of the scores.
        options: what SDPA takes beside them.
    """
    width, grouped = v.shape[-1], q.shape[1] != k.shape[1]
    if flash_widths(q.device.type):
        q, k, v = one_width(q, k, v)
    y: Tensor = sdpa(q, k, v, scale=scale, enable_gqa=grouped, **options)
    return y[..., :width]


def causal_sdpa(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float) -> Tensor:
    """Each token attends to itself and all tokens before it: [B, H, T, V].

    Args:
        q_BHTK: queries; the heads of a group are neighbours.
        k_BGTK: keys.
        v_BGTV: values.
        scale: factor of the scores.
    """
    return fused_attention(q_BHTK, k_BGTK, v_BGTV, scale, is_causal=True)


def window_sdpa(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float, window: int) -> Tensor:
    """Each token attends to itself and the `window` - 1 tokens before it: [B, H, T, V].

    Sequences longer than two windows are cut into blocks of one window, and a block's queries meet
    the keys of their own and the previous block: 2W keys a query, however long the sequence is.

    Args:
        q_BHTK: queries; the heads of a group are neighbours.
        k_BGTK: keys.
        v_BGTV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included.
    """
    length = q_BHTK.shape[2]
    if length <= window:
        return causal_sdpa(q_BHTK, k_BGTK, v_BGTV, scale)
    if length <= 2 * window:
        mask_TT = visible(length, window, q_BHTK.device)
        return fused_attention(q_BHTK, k_BGTK, v_BGTV, scale, attn_mask=mask_TT)
    first = causal_sdpa(q_BHTK[:, :, :window], k_BGTK[:, :, :window], v_BGTV[:, :, :window], scale)
    return torch.cat((first, _later_blocks(q_BHTK, k_BGTK, v_BGTV, scale, window)), 2)


def _later_blocks(q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float, window: int) -> Tensor:
    """The outputs from the second block on, each block one batch element of an attention over 2W keys."""
    batch, heads, length, _ = q_BHTK.shape
    blocks = -(-length // window)
    padding = (0, 0, 0, blocks * window - length)
    q, k, v = (pad(x, padding) for x in (q_BHTK, k_BGTK, v_BGTV))
    queries = q[:, :, window:].unflatten(2, (blocks - 1, window)).transpose(1, 2).flatten(0, 1)
    # unfold walks in steps of one window over pairs of blocks: [B, G, N-1, K, 2W].
    keys, values = (x.unfold(2, 2 * window, window).permute(0, 2, 1, 4, 3).flatten(0, 1) for x in (k, v))
    mask = visible(2 * window, window, q.device)[window:]
    out: Tensor = fused_attention(queries, keys, values, scale, attn_mask=mask)
    out = out.unflatten(0, (batch, blocks - 1)).transpose(1, 2).reshape(batch, heads, -1, v_BGTV.shape[3])
    return out[:, :, : length - window]
