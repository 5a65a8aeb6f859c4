"""Rotary positions as one Triton kernel: reads and writes each element once, computes in fp32.

B batch, T tokens, H heads, K head width, J pairs of a head that turn.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

# A program's heads and elements; a power of two, as Triton wants.
_MOST_ELEMENTS = 4096


@triton.jit
def _rotate(
    x,
    turns,
    y,
    length,
    stride_b,
    stride_t,
    stride_h,
    stride_turns_b,
    stride_turns_t,
    heads,
    turning_heads,
    first,
    WIDTH: tl.constexpr,
    PAIRS: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_PAIRS: tl.constexpr,
    BACK: tl.constexpr,
):
    """Neighbouring elements of some heads of a token; those that do not turn are copied."""
    row = tl.program_id(0).to(tl.int64)
    batch, token = row // length, row % length
    head = tl.program_id(1) * BLOCK_HEADS + tl.arange(0, BLOCK_HEADS)[:, None]
    pair = tl.arange(0, BLOCK_PAIRS)[None, :]
    source = x + batch * stride_b + token * stride_t + head * stride_h + 2 * pair
    target = y + (row * heads + head) * WIDTH + 2 * pair
    there = head < heads
    has_even, has_odd = there & (2 * pair < WIDTH), there & (2 * pair + 1 < WIDTH)
    even = tl.load(source, mask=has_even, other=0.0).to(tl.float32)
    odd = tl.load(source + 1, mask=has_odd, other=0.0).to(tl.float32)
    turned = pair - first // 2
    turns_there = (head < turning_heads) & (turned >= 0) & (turned < PAIRS)
    angle = turns + batch * stride_turns_b + token * stride_turns_t + 2 * turned
    cos = tl.load(angle, mask=turns_there, other=1.0)
    sin = tl.load(angle + 1, mask=turns_there, other=0.0)
    if BACK:
        sin = -sin
    tl.store(target, even * cos - odd * sin, mask=has_even)
    tl.store(target + 1, odd * cos + even * sin, mask=has_odd)


def rotate_pairs(x_BTHK: Tensor, turns: Tensor, heads: int, first: int, back: bool) -> Tensor:
    """Elements `first` to before `first` + 2J of the first heads turned, the rest as it is; contiguous, no gradient.

    Args:
        x_BTHK: any strides, with neighbours in a head next to each other.
        turns: each token's, complex64 [T, J], or [B, T, J] where rows differ.
        heads: how many heads turn.
        first: the first element of a head that turns, even.
        back: whether they turn the other way, as gradients do.

    Returns:
        [B, T, H, K] in the type of `x_BTHK`.
    """
    x_BTHK = x_BTHK if x_BTHK.stride(3) == 1 else x_BTHK.contiguous()
    batch, length, every, width = x_BTHK.shape
    turns_real = torch.view_as_real(turns.resolve_conj()).contiguous()
    y_BTHK = torch.empty_like(x_BTHK, memory_format=torch.contiguous_format)
    block_pairs = triton.next_power_of_2(-(-width // 2))
    block_heads = min(triton.next_power_of_2(every), max(1, _MOST_ELEMENTS // (2 * block_pairs)))
    _rotate[(batch * length, triton.cdiv(every, block_heads))](
        x_BTHK,
        turns_real,
        y_BTHK,
        length,
        *x_BTHK.stride()[:3],
        turns_real.stride(0) if turns.dim() == 3 else 0,
        turns_real.stride(-3),
        every,
        heads,
        first,
        WIDTH=width,
        PAIRS=turns.shape[-1],
        BLOCK_HEADS=block_heads,
        BLOCK_PAIRS=block_pairs,
        BACK=back,
    )
    return y_BTHK
