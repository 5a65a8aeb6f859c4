"""Sliding windows by FlexAttention (Dong et al. 2024, arXiv:2412.05496): blocks outside of the window are skipped.

B batch, H query heads, G key/value heads, T tokens, K width of queries and keys, V width of values.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask


@functools.lru_cache(maxsize=32)
def _window_mask(length: int, window: int, device: torch.device) -> BlockMask:
    """Query i sees key j where 0 <= i - j < window, in blocks of tokens."""

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (query >= key) & (query - key < window)

    with torch.inference_mode(False):
        return create_block_mask(visible, None, None, length, length, device=device)


def flex_window(
    q_BHTK: Tensor, k_BGTK: Tensor, v_BGTV: Tensor, scale: float, window: int, kernel: Callable[..., Tensor]
) -> Tensor:
    """Each token attends to itself and the `window` - 1 tokens before it: [B, H, T, V].

    Args:
        q_BHTK: queries; heads of a group are neighbours.
        k_BGTK: keys.
        v_BGTV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included.
        kernel: `torch.nn.attention.flex_attention.flex_attention`, compiled where it is to be fast.
    """
    mask = _window_mask(q_BHTK.shape[2], window, q_BHTK.device)
    grouped = q_BHTK.shape[1] != k_BGTK.shape[1]
    return kernel(q_BHTK, k_BGTK, v_BGTV, block_mask=mask, scale=scale, enable_gqa=grouped)
