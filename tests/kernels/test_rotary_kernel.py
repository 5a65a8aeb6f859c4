"""Our Triton kernel for rotary positions beside the formula."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from harmony_core.models.ops.attention.rotary import rotate, rotate_reference
from tests.kernels.differences import drawn

# Width of a head, pairs that turn, heads that turn, first element that turns.
SHAPES = [(16, 8, None, 0), (12, 4, 3, 0), (20, 4, None, 12), (6, 2, 2, 2), (9, 3, None, 0)]


def turns_of(tokens: int, pairs: int) -> Tensor:
    return torch.polar(torch.full((tokens, pairs), 1.2), torch.arange(tokens * pairs).view(tokens, pairs) * 0.3)


@pytest.mark.parametrize(("width", "pairs", "heads", "first"), SHAPES)
def test_heads_are_turned_and_their_gradients_back(width: int, pairs: int, heads: int | None, first: int) -> None:
    (joined,) = drawn((2, 7, 5, width + 3))
    # A part of a projection, as attention has it.
    x, turns = joined[..., :width].requires_grad_(), turns_of(7, pairs)
    y = rotate(x, turns, heads, first)
    torch.testing.assert_close(y, rotate_reference(x, turns, heads, first), rtol=1e-6, atol=1e-6)
    (dy,) = drawn(y.shape, seed=1)
    (dx,) = torch.autograd.grad(y, x, dy)
    torch.testing.assert_close(dx, rotate_reference(dy, turns.conj(), heads, first), rtol=1e-6, atol=1e-6)


def test_rows_with_turns_of_their_own_in_bf16() -> None:
    (x,) = drawn((2, 7, 3, 8))
    rows = torch.stack((turns_of(7, 4), turns_of(7, 4).flip(0)))
    expected = torch.cat([rotate_reference(x[b : b + 1].bfloat16(), rows[b]) for b in range(2)])
    torch.testing.assert_close(rotate(x.bfloat16(), rows), expected, rtol=1e-2, atol=1e-2)
