"""Causal softmax attention with grouped key/value heads.

B batch, H query heads, G key/value heads, T tokens, K width of queries and keys, V width of values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.models.kernels import blocked_products, lower_right, window_kernel
from harmony_core.models.ops.attention.blocked import blocked_attention
from harmony_core.models.ops.attention.flex import flex_window
from harmony_core.models.ops.attention.fused import causal_sdpa, visible, window_sdpa
from harmony_core.models.ops.attention.sinks import attend_masked
from harmony_core.models.ops.precision import at_least_fp32


def attention_reference(
    q_BHTK: Tensor,
    k_BGTK: Tensor,
    v_BGTV: Tensor,
    scale: float,
    window: int | None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Every score, a mask, a softmax in fp32 or fp64, over the head's sink too where there are: [B, H, T, V].

    Args:
        q_BHTK: queries; the heads of a group are neighbours.
        k_BGTK: keys.
        v_BGTV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included; None is all.
        sinks_H: a score of each head that takes weight and has no value, or none.
    """
    repeats = q_BHTK.shape[1] // k_BGTK.shape[1]
    k_BHTK, v_BHTV = k_BGTK.repeat_interleave(repeats, 1), v_BGTV.repeat_interleave(repeats, 1)
    scores_BHTT = at_least_fp32(q_BHTK @ k_BHTK.mT) * scale
    visible_TT = visible(q_BHTK.shape[2], window, q_BHTK.device)
    scores_BHTT = scores_BHTT.masked_fill(~visible_TT, float("-inf"))
    if sinks_H is not None:
        sinks_BHT1 = sinks_H[:, None, None].expand(*scores_BHTT.shape[:3], 1)
        scores_BHTT = torch.cat((scores_BHTT, sinks_BHT1), -1)
    weights_BHTT = scores_BHTT.softmax(-1)[..., : visible_TT.shape[1]]
    return weights_BHTT.to(v_BHTV.dtype) @ v_BHTV


def attend(
    q_BTHK: Tensor,
    k_BTGK: Tensor,
    v_BTGV: Tensor,
    scale: float,
    window: int | None = None,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """Each token attends to itself and those before it, at most `window` in all.

    Args:
        q_BTHK: queries; the heads of a group are neighbours.
        k_BTGK: keys.
        v_BTGV: values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included; None is all.
        sinks_H: a score of each head that takes weight and has no value, or none.

    Returns:
        [B, T, H, V]; under autocast in the autocast type.
    """
    if window is not None and window >= q_BTHK.shape[1]:
        window = None
    if blocked_products(q_BTHK.device.type):
        return blocked_attention(q_BTHK, k_BTGK, v_BTGV, scale, window, sinks_H)
    q_BHTK, k_BGTK, v_BGTV = (x.transpose(1, 2) for x in (q_BTHK, k_BTGK, v_BTGV))
    if sinks_H is not None:
        device, aligned = q_BHTK.device, window is None and lower_right(q_BHTK.device.type)
        mask_TT = None if aligned else visible(q_BHTK.shape[2], window, device)
        return attend_masked(q_BHTK, k_BGTK, v_BGTV, scale, mask_TT, sinks_H).transpose(1, 2)
    if window is None:
        return causal_sdpa(q_BHTK, k_BGTK, v_BGTV, scale).transpose(1, 2)
    kernel = window_kernel(q_BHTK.device.type, min(q_BHTK.shape[3], v_BGTV.shape[3]))
    if kernel is not None:
        return flex_window(q_BHTK, k_BGTK, v_BGTV, scale, window, kernel).transpose(1, 2)
    return window_sdpa(q_BHTK, k_BGTK, v_BGTV, scale, window).transpose(1, 2)


def attention_path(device_type: str, head_dim: int, window: int | None = None) -> str:
    """What `attend` does on a device, for the log.

    Args:
        device_type: torch's name of it, `cuda` or `cpu`.
        head_dim: elements of a query or key.
        window: tokens that a query sees, itself included; None is all.
    """
    if blocked_products(device_type):
        return "blocked products"
    return "sdpa" if window is None or window_kernel(device_type, head_dim) is None else "flex_attention"
