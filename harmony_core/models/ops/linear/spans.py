"""Cuts a sequence into spans of chunks, and tensors of all tokens into the chunks of a span.

B batch, T tokens, H heads, N chunks of a span, Z = N B H, Q tokens of a chunk, K width.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Span(NamedTuple):
    """Chunks of equal length, one after the other.

    Args:
        start: the first one's first token.
        chunks: how many N.
        length: tokens Q of each.
    """

    start: int
    chunks: int
    length: int

    @property
    def tokens(self) -> slice:
        """All its tokens."""
        return slice(self.start, self.start + self.chunks * self.length)


def spans_of(length: int, chunk: int, most: int) -> list[Span]:
    """Spans of whole chunks, and what is left as a shorter chunk.

    Args:
        length: tokens of a sequence.
        chunk: tokens of a chunk.
        most: chunks of a span at most.
    """
    whole, rest = divmod(length, chunk)
    spans = [Span(first * chunk, min(most, whole - first), chunk) for first in range(0, whole, most)]
    return [*spans, Span(whole * chunk, 1, rest)] if rest else spans


def cut(x_BTHK: Tensor, span: Span) -> Tensor:
    """The chunks of a span, [N, B, H, Q, K], a view."""
    x_BNQHK: Tensor = x_BTHK[:, span.tokens].unflatten(1, (span.chunks, span.length))
    return x_BNQHK.permute(1, 0, 3, 2, 4)


def stacked(x_BTHK: Tensor, span: Span) -> Tensor:
    """The chunks of a span, [Z, Q, K], a copy of its own."""
    return cut(x_BTHK, span).clone(memory_format=torch.contiguous_format).flatten(0, 2)


def put(x_BTHK: Tensor, span: Span, x_ZQK: Tensor) -> None:
    """Writes the chunks of a span where they belong.

    Args:
        x_BTHK: all tokens, overwritten at the span's.
        span: the chunks.
        x_ZQK: their contents, Z of B, N and H as `cut` orders them.
    """
    place = cut(x_BTHK, span)
    place.copy_(x_ZQK.view(place.shape))
