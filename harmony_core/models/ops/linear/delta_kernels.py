"""How the delta rules of flash-linear-attention (0.6) want to be called.

B batch, T tokens, G key heads, E = 2 G, H value heads, K key width, V value width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def run_delta_kernel(
    kernel: Callable[..., Any],
    qk_BTEK: Tensor,
    v_BTHV: Tensor,
    log: Tensor,
    beta_BTH: Tensor,
    dtype: torch.dtype,
    with_state: bool,
) -> tuple[Tensor, Tensor | None]:
    """`gated_delta` or `kda` by a kernel: products in `dtype`, sums, decays and the state in fp32.

    Args:
        kernel: `chunk_gated_delta_rule` or `chunk_kda`.
        qk_BTEK: queries of the G key heads, and then their keys, of length at most one.
        v_BTHV: values; a key head serves H / G consecutive value heads.
        log: logarithms of the decays, at most 0: [B, T, H], or [B, T, H, K] for `chunk_kda`.
        beta_BTH: how much of a prediction's error is corrected.
        dtype: of the products, 16 bits.
        with_state: whether the last state is wanted.

    Returns:
        y [B, T, H, V] in `dtype`, and where asked for the last state, [B, H, V, K] in fp32.
    """
    q_BTGK, k_BTGK = qk_BTEK.to(dtype).chunk(2, 2)
    # Its scale is one over the root of a key's width, as ours.
    y_BTHV, last_BHKV = kernel(q_BTGK, k_BTGK, v_BTHV.to(dtype), log, beta_BTH, output_final_state=with_state)
    return y_BTHV, None if last_BHKV is None else last_BHKV.mT.float()
