"""How `blocked_attention` cuts its work: blocks of queries, heads computed together, weights kept or made again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from harmony_core.models.kernels import onednn_fp32

# Keys seen up to which weights are kept: a seventh less time, for memory that grows with tokens x keys.
KEPT_KEYS = 512
# Bytes of a block's weights that a core's cache holds until the next product reads them.
CACHED_BYTES = 1 << 20
# Multiply-adds of a block of one head from which a oneDNN call of its own is worth it.
LARGE = 6 << 20


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
    """The plan for these queries, `groups` key/value heads and products in `dtype`."""
    length, heads, width = q_BTHK.shape[1:]
    repeats, seen = heads // groups, min(length, window or length)
    kept = train and seen <= KEPT_KEYS
    if dtype == torch.float32 and onednn_fp32(q_BTHK.device.type):
        tokens = max(64, min(256, 512 // repeats))
        if min(length, tokens) * repeats * seen * width >= LARGE:
            return Plan(window, tokens, 1, True, kept)
    # bf16 products are so much faster that a block needs more rows to be worth its calls.
    tokens = max(64, 256 // dtype.itemsize // repeats)
    weights_bytes = tokens * repeats * min(length, seen + tokens) * dtype.itemsize
    return Plan(window, tokens, max(1, CACHED_BYTES // weights_bytes), False, kept)
