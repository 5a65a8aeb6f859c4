"""Softmax attention over ranks: keys and values are gathered, queries stay where they are.

With the zigzag order each rank's queries see as many keys as every other's, early and late pieces together.

B batch, T tokens of the whole sequence, I = T / N tokens of a rank, Q tokens of one of its pieces, S keys that a piece
may see, H query heads, G key/value heads, K width of queries and keys, V width of values.
"""

from __future__ import annotations

import torch
from torch import Tensor

from harmony_core.models.context_parallel.exchange import gather_tokens
from harmony_core.models.context_parallel.group import ContextParallel
from harmony_core.models.kernels import lower_right
from harmony_core.models.ops.attention.sinks import attend_masked


def attend_over_ranks(
    q_BIHK: Tensor,
    k_BIGK: Tensor,
    v_BIGV: Tensor,
    scale: float,
    window: int | None,
    cp: ContextParallel,
    sinks_H: Tensor | None = None,
) -> Tensor:
    """`ops.attention.attend` for this rank's tokens of a sequence that `cp` splits, [B, I, H, V].

    Queries and keys carry their rotation by their positions in the whole sequence (`ContextParallel.positions`).

    Args:
        q_BIHK: this rank's queries; the heads of a group are neighbours.
        k_BIGK: its keys.
        v_BIGV: its values.
        scale: factor of the scores.
        window: tokens that a query sees, itself included; None is all.
        cp: who holds which tokens.
        sinks_H: a score of each head that takes weight and has no value, or none.
    """
    k_BTGK, v_BTGV = gather_tokens(k_BIGK, cp), gather_tokens(v_BIGV, cp)
    length = q_BIHK.shape[1] // cp.pieces_per_rank
    pieces = [
        _attend_piece(q_BQHK, k_BTGK, v_BTGV, scale, window, piece * length, sinks_H)
        for q_BQHK, piece in zip(q_BIHK.split(length, 1), cp.pieces(cp.rank), strict=True)
    ]
    return torch.cat(pieces, 1)


def _attend_piece(
    q_BQHK: Tensor,
    k_BTGK: Tensor,
    v_BTGV: Tensor,
    scale: float,
    window: int | None,
    start: int,
    sinks_H: Tensor | None,
) -> Tensor:
    """Queries at `start` and after, to the keys that the first or the last of them may see."""
    stop = start + q_BQHK.shape[1]
    first = 0 if window is None else max(0, start - window + 1)
    q_BHQK, k_BGSK, v_BGSV = (x.transpose(1, 2) for x in (q_BQHK, k_BTGK[:, first:stop], v_BTGV[:, first:stop]))
    if window is None and lower_right(q_BQHK.device.type):
        return attend_masked(q_BHQK, k_BGSK, v_BGSV, scale, None, sinks_H).transpose(1, 2)
    rows_Q1 = torch.arange(start, stop, device=q_BQHK.device).unsqueeze(1)
    columns_S = torch.arange(first, stop, device=q_BQHK.device)
    visible_QS = columns_S <= rows_Q1
    if window is not None:
        visible_QS &= columns_S > rows_Q1 - window
    return attend_masked(q_BHQK, k_BGSK, v_BGSV, scale, visible_QS, sinks_H).transpose(1, 2)
