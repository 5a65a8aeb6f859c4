"""The processes that share one copy of the experts, and the exchange of rows between them.

N ranks, S rows sent, R rows received, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ExpertParallel:
    """N ranks; rank n holds experts n E / N to (n + 1) E / N of each mixture's E.

    Args:
        group: the processes.
    """

    group: dist.ProcessGroup

    @property
    def rank(self) -> int:
        """This process's number in the group."""
        return dist.get_rank(self.group)

    @property
    def size(self) -> int:
        """Processes N of the group."""
        return dist.get_world_size(self.group)

    def exchange_counts(self, counts_NX: Tensor) -> Tensor:
        """Row n of the answer, int64 [N, X], is what rank n has in this rank's row."""
        received_NX = torch.empty_like(counts_NX)
        dist.all_to_all_single(received_NX, counts_NX.contiguous(), group=self.group)
        return received_NX

    def exchange(self, rows_SD: Tensor, sent: list[int], received: list[int]) -> Tensor:
        """Rows in the order of the ranks they go to, to rows [R, D] in the order of those they came from.

        Args:
            rows_SD: this rank's rows.
            sent: rows that each rank gets from this one.
            received: rows that this one gets from each rank.
        """
        return _Exchange.apply(rows_SD, sent, received, self.group)  # type: ignore[no-any-return, no-untyped-call]


def _all_to_all(rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
    answer = rows.new_empty(sum(received), *rows.shape[1:])
    dist.all_to_all_single(answer, rows.contiguous(), received, sent, group=group)
    return answer


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: list[int], received: list[int], group: dist.ProcessGroup) -> Tensor:
        ctx.sent, ctx.received, ctx.group = sent, received, group
        return _all_to_all(rows, sent, received, group)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, drows: Tensor) -> tuple[Tensor, None, None, None]:
        return _all_to_all(drows, ctx.received, ctx.sent, ctx.group), None, None, None
