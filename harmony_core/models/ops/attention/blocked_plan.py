"""How `blocked_attention` cuts its work: blocks of queries, heads computed together, weights kept or made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony_core import tiling
from harmony_core.models.kernels import onednn_fp32


@dataclass(frozen=True)
class Plan:
    """How the work is cut.

    Args:
        window: tokens that a query sees; None is all.
        tokens: of a block of queries.
        pairs: of a sequence and a key/value head that are computed together, as one batched product.
        single: whether each product is of one pair, and oneDNN's.
        kept: whether weights are kept for backward.
    """

    window: int | None
    tokens: int
    pairs: int
    single: bool
    kept: bool

    def blocks(self, length: int) -> Iterator[tuple[int, int, int]]:
        """(first key, first query, end of both) of each block of queries."""
        for start in range(0, length, self.tokens):
            first = 0 if self.window is None else max(0, start - self.window + 1)
            yield first, start, min(start + self.tokens, length)

    def parts(self, batch: int, groups: int) -> Iterator[tuple[slice, slice]]:
        """The sequences and key/value heads that are computed together: whole sequences, or heads of one."""
        sequences, heads = max(1, self.pairs // groups), min(self.pairs, groups)
        for sequence in range(0, batch, sequences):
            for head in range(0, groups, heads):
                yield slice(sequence, sequence + sequences), slice(head, head + heads)


def make_plan(q_BTHK: Tensor, groups: int, window: int | None, dtype: torch.dtype, train: bool) -> Plan:
    """The plan for these queries, `groups` key/value heads and products in `dtype`.

    Args:
        q_BTHK: the queries, for their shape and device.
        groups: key/value heads.
        window: tokens that a query sees, itself included; None is all.
        dtype: of the products.
        train: whether a backward pass follows.
    """
    length, heads, width = q_BTHK.shape[1:]
    repeats, seen = heads // groups, min(length, window or length)
    kept, size = train and seen <= tiling.KEPT_KEYS, dtype.itemsize
    onednn = dtype == torch.float32 and onednn_fp32(q_BTHK.device.type)
    if onednn and tiling.long_query_blocks(repeats, width, length, window, size):
        return Plan(window, tiling.long_block(repeats), 1, True, kept)
    pairs = tiling.short_pairs(repeats, length, window, size)
    return Plan(window, tiling.short_block(repeats, size), pairs, False, kept)
