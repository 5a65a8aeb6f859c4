"""Products of a chunk's queries and keys with its keys under a decay by channel (arXiv:2510.26692, section 3.2).

P_ij = sum_c r_ic k_jc exp(L_ic - L_jc) for j <= i, where L falls from token to token. No factor here is above one,
however strong the decay: blocks below the diagonal are matrix products, whose rows decay from the block's beginning on
and whose columns up to it; in the blocks on the diagonal each pair of tokens has its own factors.

Z chunks of all sequences and heads, Q tokens of a chunk, M its blocks, I tokens of a block, J the same as columns,
K key width; 2 stands for what reads, queries and keys.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from harmony_core.models.ops.linear.decay import decay_of_
from harmony_core.tiling import DECAY_BLOCK


class _Leaves(NamedTuple):
    """The blocks on the diagonal.

    Args:
        decay_ZMIJK: from column to row, 0 above the diagonal.
        k_ZMIJK: the columns' keys with it.
        reading_ZMI2K: queries and keys of each row.
    """

    decay_ZMIJK: Tensor
    k_ZMIJK: Tensor
    reading_ZMI2K: Tensor


class Reads(NamedTuple):
    """Gradients by what a vector does.

    Args:
        dqk_Z2QK: of queries and keys that read.
        dk_ZQK: of keys that are read.
    """

    dqk_Z2QK: Tensor
    dk_ZQK: Tensor


def decayed_products(qk_Z2QK: Tensor, log_ZQK: Tensor) -> Tensor:
    """P of queries and of keys, [Z, 2, Q, Q], 0 above the diagonal; `log_ZQK` is to base 2."""
    length = log_ZQK.shape[1]
    qk_Z2QK, log_ZQK = _padded(qk_Z2QK, log_ZQK)
    leaves, padded = _leaves(qk_Z2QK, log_ZQK), log_ZQK.shape[1]
    products_Z2QQ = qk_Z2QK.new_zeros(*qk_Z2QK.shape[:2], padded, padded)
    _diagonal(products_Z2QQ).copy_(leaves.reading_ZMI2K @ leaves.k_ZMIJK.mT)
    for start in range(DECAY_BLOCK, padded, DECAY_BLOCK):
        rows, columns, _ = _below(qk_Z2QK, log_ZQK, start)
        block = (rows.flatten(1, 2) @ columns.mT).unflatten(1, (2, -1))
        products_Z2QQ[:, :, start : start + DECAY_BLOCK, :start] = block
    return products_Z2QQ[:, :, :length, :length]


def decayed_products_gradients(qk_Z2QK: Tensor, log_ZQK: Tensor, dproducts_Z2QQ: Tensor) -> Reads:
    """Gradients of `decayed_products`; those of L follow from them.

    Args:
        qk_Z2QK: queries and keys, as `decayed_products` took them.
        log_ZQK: L, logarithms to base 2, likewise.
        dproducts_Z2QQ: gradient of the products; what stands above its diagonal is not read.
    """
    length = log_ZQK.shape[1]
    qk_Z2QK, log_ZQK = _padded(qk_Z2QK, log_ZQK)
    leaves, more = _leaves(qk_Z2QK, log_ZQK), log_ZQK.shape[1] - length
    if more:
        dproducts_Z2QQ = torch.nn.functional.pad(dproducts_Z2QQ, (0, more, 0, more))
    dleaf_ZMI2J = _diagonal(dproducts_Z2QQ).contiguous()
    dread_ZMI2K = dleaf_ZMI2J @ leaves.k_ZMIJK
    dk_ZMJK = (dleaf_ZMI2J.mT @ leaves.reading_ZMI2K).mul_(leaves.decay_ZMIJK).sum(2)
    dqk_Z2QK, dk_ZQK = dread_ZMI2K.permute(0, 3, 1, 2, 4).flatten(2, 3), dk_ZMJK.flatten(1, 2)
    for start in range(DECAY_BLOCK, log_ZQK.shape[1], DECAY_BLOCK):
        rows, columns, (row_decay, column_decay) = _below(qk_Z2QK, log_ZQK, start)
        span = slice(start, start + DECAY_BLOCK)
        dblock = dproducts_Z2QQ[:, :, span, :start].flatten(1, 2)
        dqk_Z2QK[:, :, span].addcmul_((dblock @ columns).unflatten(1, (2, -1)), row_decay)
        dk_ZQK[:, :start].addcmul_(dblock.mT @ rows.flatten(1, 2), column_decay)
    return Reads(dqk_Z2QK[:, :, :length], dk_ZQK[:, :length])


def _padded(qk_Z2QK: Tensor, log_ZQK: Tensor) -> tuple[Tensor, Tensor]:
    """With tokens of nothing, which decay no more, up to whole blocks."""
    more = -log_ZQK.shape[1] % DECAY_BLOCK
    if not more:
        return qk_Z2QK, log_ZQK
    last_ZQK = log_ZQK[:, -1:].expand(-1, more, -1)
    return torch.nn.functional.pad(qk_Z2QK, (0, 0, 0, more)), torch.cat((log_ZQK, last_ZQK), 1)


def _leaves(qk_Z2QK: Tensor, log_ZQK: Tensor) -> _Leaves:
    log_ZMIK = log_ZQK.unflatten(1, (-1, DECAY_BLOCK))
    future_IJ = log_ZQK.new_full((DECAY_BLOCK, DECAY_BLOCK), float("-inf")).triu_(1)
    decay_ZMIJK = decay_of_((log_ZMIK.unsqueeze(3) - log_ZMIK.unsqueeze(2)).add_(future_IJ.unsqueeze(-1)))
    reading_ZMI2K = qk_Z2QK.unflatten(2, (-1, DECAY_BLOCK)).permute(0, 2, 3, 1, 4).contiguous()
    return _Leaves(decay_ZMIJK, decay_ZMIJK * reading_ZMI2K[:, :, None, :, 1], reading_ZMI2K)


def _below(qk_Z2QK: Tensor, log_ZQK: Tensor, start: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """Rows [Z, 2, I, K] of the block from `start` on, columns [Z, start, K] before it, and the decays of both."""
    rows, columns = log_ZQK[:, start : start + DECAY_BLOCK], log_ZQK[:, :start]
    border_Z1K = log_ZQK[:, start - 1 : start]
    row_decay = decay_of_(rows - border_Z1K).unsqueeze(1)
    column_decay = decay_of_(border_Z1K - columns)
    reading = qk_Z2QK[:, :, start : start + DECAY_BLOCK] * row_decay
    return reading, qk_Z2QK[:, 1, :start] * column_decay, (row_decay, column_decay)


def _diagonal(x_Z2QQ: Tensor) -> Tensor:
    """The blocks on the diagonal, [Z, M, I, 2, J], a view."""
    blocks_Z2MIMJ = x_Z2QQ.unflatten(2, (-1, DECAY_BLOCK)).unflatten(4, (-1, DECAY_BLOCK))
    diagonal_Z2IJM: Tensor = blocks_Z2MIMJ.diagonal(dim1=2, dim2=4)
    return diagonal_Z2IJM.permute(0, 4, 2, 1, 3)
