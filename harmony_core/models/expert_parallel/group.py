"""The processes that share one copy of the experts, and the exchange of rows between them.

N ranks, S rows sent, R rows received, D width.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


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

    def exchange(
        self, rows_SD: Tensor, sent: list[int], received: list[int], meanwhile: Callable[[], T] | None = None
    ) -> tuple[Tensor, T | None]:
        """Rows in the order of the ranks they go to, to rows [R, D] in the order of those they came from.

        Args:
            rows_SD: this rank's rows.
            sent: rows that each rank gets from this one.
            received: rows that this one gets from each rank.
            meanwhile: what is computed while the rows travel; its backward pass is, while their gradients do.

        Returns:
            The rows, and what `meanwhile` answered.
        """
        flight = _Flight(self.group, sent, received)
        on_their_way_RD = _Depart.apply(rows_SD, flight)  # type: ignore[no-untyped-call]
        # Autograd goes backward through what was made last first: from the arrival over this to the departure.
        found = None if meanwhile is None else meanwhile()
        return _Arrive.apply(on_their_way_RD, flight), found  # type: ignore[no-untyped-call]


class _Flight:
    """Rows between ranks: what is sent must stay, and what is received must not be read, until they have arrived."""

    def __init__(self, group: dist.ProcessGroup, sent: list[int], received: list[int]) -> None:
        self.group, self.sent, self.received = group, sent, received
        self._held: tuple[dist.Work, Tensor, Tensor] | None = None

    def depart(self, rows: Tensor, back: bool = False) -> Tensor:
        """Starts the exchange; the answer is not filled yet."""
        sent, received = (self.received, self.sent) if back else (self.sent, self.received)
        answer, rows = rows.new_empty(sum(received), *rows.shape[1:]), rows.contiguous()
        work = dist.all_to_all_single(answer, rows, received, sent, group=self.group, async_op=True)
        self._held = work, rows, answer
        return answer

    def arrive(self) -> Tensor:
        """The answer, filled as far as the device's current stream is concerned."""
        assert self._held is not None, "nothing arrives that did not depart"
        work, _, answer = self._held
        work.wait()
        self._held = None
        return answer


class _Depart(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, flight: _Flight) -> Tensor:
        ctx.flight = flight
        return flight.depart(rows)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, _: Tensor) -> tuple[Tensor, None]:
        # What the arrival's backward handed on only stands for the gradients that are on their way.
        return ctx.flight.arrive(), None


class _Arrive(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, flight: _Flight) -> Tensor:
        ctx.flight = flight
        flight.arrive()
        return rows.view_as(rows)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, drows: Tensor) -> tuple[Tensor, None]:
        ctx.flight.depart(drows, back=True)
        return drows, None
