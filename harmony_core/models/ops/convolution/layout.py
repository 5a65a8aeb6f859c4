"""Channels first and back, through plain matrix transpositions: PyTorch is slow with those of three dimensions.

B batch, T tokens, D channels.
"""

from __future__ import annotations

from torch import Tensor


def channels_first(x_BTD: Tensor) -> Tensor:
    """[D, B, T], contiguous."""
    batch, length, width = x_BTD.shape
    return x_BTD.reshape(-1, width).T.contiguous().view(width, batch, length)


def channels_last(x_DBT: Tensor, length: int) -> Tensor:
    """The first `length` tokens as [B, T, D], contiguous."""
    width, batch, padded = x_DBT.shape
    x_BTD = x_DBT.reshape(width, -1).T.contiguous().view(batch, padded, width)
    return x_BTD[:, :length].contiguous()
