"""The processes that share a sequence, and which of its tokens each one holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from harmony_core.errors import UserError
from harmony_core.models.context_parallel.channels import ChannelShare

Method = Literal["all_to_all", "point_to_point"]
SequenceOrder = Literal["contiguous", "zigzag"]


@dataclass(frozen=True)
class ContextParallel:
    """N ranks with T / N tokens each.

    Args:
        group: the processes; None is all of them.
        method: how convolutions see other ranks' tokens. `all_to_all` exchanges tokens for channels; `point_to_point`
            hands the last inputs to the next tokens' rank, for filters with an end (others exchange all the same).
        order: `contiguous` gives rank r the r-th of N pieces; `zigzag` the r-th and the r-th last of 2N, which evens
            out causal attention.
    """

    group: dist.ProcessGroup | None = None
    method: Method = "all_to_all"
    order: SequenceOrder = "contiguous"

    def __post_init__(self) -> None:
        for name, allowed in (("method", get_args(Method)), ("order", get_args(SequenceOrder))):
            if getattr(self, name) not in allowed:
                raise UserError(name, getattr(self, name), f"use {' or '.join(allowed)}")

    @property
    def rank(self) -> int:
        """This process's number in the group."""
        return dist.get_rank(self.group)

    @property
    def size(self) -> int:
        """Processes N of the group."""
        return dist.get_world_size(self.group)

    @property
    def pieces_per_rank(self) -> int:
        """Runs of neighbouring tokens that a rank holds."""
        return 2 if self.order == "zigzag" else 1

    def pieces(self, rank: int) -> tuple[int, ...]:
        """Numbers of the equal pieces of the sequence that `rank` holds, in order."""
        return (rank, 2 * self.size - 1 - rank) if self.order == "zigzag" else (rank,)

    def owner(self, piece: int) -> int:
        """The rank that holds a piece."""
        return min(piece, 2 * self.size - 1 - piece) if self.order == "zigzag" else piece

    def global_rank(self, rank: int) -> int:
        """The number that the default group knows a rank of this one by."""
        return rank if self.group is None else dist.get_global_rank(self.group, rank)

    def shard(self, x: Tensor, dim: int = 1) -> Tensor:
        """This rank's tokens of a whole sequence.

        Raises:
            UserError: the sequence does not divide into equal pieces.
        """
        pieces = self.size * self.pieces_per_rank
        if x.shape[dim] % pieces:
            raise UserError("sequence_length", x.shape[dim], f"use a multiple of the {pieces} pieces ({self.order})")
        chunks = x.chunk(pieces, dim)
        return torch.cat([chunks[piece] for piece in self.pieces(self.rank)], dim)

    def positions(self, length: int) -> Tensor:
        """Positions in the whole sequence of this rank's `length` tokens, int64 on the CPU."""
        return self.shard(torch.arange(length * self.size), 0)

    def channel_share(self, width: int) -> ChannelShare:
        """The channels that this rank convolves after an exchange.

        Raises:
            UserError: the channels do not divide.
        """
        if width % self.size:
            raise UserError("d_model", width, f"use a multiple of the {self.size} ranks, or point_to_point")
        return ChannelShare(self.rank, self.size)


def refuse_decoding(cp: ContextParallel | None) -> None:
    """Raises TypeError where a sequence is spread over ranks: decoding has a state on one."""
    if cp is not None:
        raise TypeError("decoding runs on one rank; take the context-parallel group off the model first")
