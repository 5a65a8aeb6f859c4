"""Where documents end within chunks: 1 where a token is of the other's document, and 0 elsewhere.

B batch, T tokens, N chunks of a span, Q tokens of a chunk, X = N B.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harmony_core.models.ops.linear.spans import Span, cut


class Masks(NamedTuple):
    """What of the decays is left.

    Args:
        same_X1QQ: between two tokens.
        entering_X1Q1: from before the chunk to a token.
        leaving_X1Q1: from a token to the chunk's end.
    """

    same_X1QQ: Tensor
    entering_X1Q1: Tensor
    leaving_X1Q1: Tensor


def masks_of(number_BT: Tensor, span: Span, dtype: torch.dtype) -> Masks:
    """The masks of a span's chunks.

    Args:
        number_BT: int64, which of its row's documents a token belongs to.
        span: the chunks.
        dtype: of the masks.
    """
    before_BT = torch.cat((number_BT[:, :1], number_BT[:, :-1]), 1)
    number_XQ, before_XQ = (cut(x[..., None, None], span).flatten(0, 1).flatten(1) for x in (number_BT, before_BT))
    same_XQQ = number_XQ.unsqueeze(2) == number_XQ.unsqueeze(1)
    entering_XQ = number_XQ == before_XQ[:, :1]
    return Masks(
        same_XQQ.unsqueeze(1).to(dtype),
        entering_XQ[:, None, :, None].to(dtype),
        same_XQQ[:, -1][:, None, :, None].to(dtype),
    )
