"""Point to point: a filter of K taps needs no more of another rank than the K - 1 inputs before its own tokens.

B batch, T tokens of this rank in P pieces, D channels, G filter groups, K taps, H = K - 1 inputs of a halo.
The inputs are on their way while the rank convolves its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.functional import pad

from harmony_core.errors import UserError
from harmony_core.models.context_parallel.group import ContextParallel
from harmony_core.models.ops.convolution.gated import Convolution, convolve


@dataclass
class _Transfer:
    """Pieces on their way.

    Args:
        received: what arrives, zeros for a piece at the sequence's end; complete after `wait`.
        works: the transfers under way.
        kept: the sent tensors, which must live as long.
    """

    received: list[Tensor]
    works: list[dist.Work]
    kept: list[Tensor]

    def wait(self) -> Tensor:
        """[P, ..] of the pieces received."""
        for work in self.works:
            work.wait()
        return torch.stack(self.received)


def _pass_on(x_P: Tensor, cp: ContextParallel, step: int) -> _Transfer:
    """Starts sending entry p, of this rank's p-th piece, to the holder of the piece `step` further on."""
    mine, last = cp.pieces(cp.rank), cp.size * cp.pieces_per_rank
    transfer = _Transfer([torch.zeros_like(x_P[0]) for _ in mine], [], [])
    operations = []
    for number, piece in enumerate(mine):
        source, target = piece - step, piece + step
        if 0 <= source < last:
            if cp.owner(source) == cp.rank:
                transfer.received[number].copy_(x_P[mine.index(source)])
            else:
                sender = cp.global_rank(cp.owner(source))
                operations.append(dist.P2POp(dist.irecv, transfer.received[number], sender, cp.group))
        if 0 <= target < last and cp.owner(target) != cp.rank:
            transfer.kept.append(x_P[number].contiguous())
            receiver = cp.global_rank(cp.owner(target))
            operations.append(dist.P2POp(dist.isend, transfer.kept[-1], receiver, cp.group))
    transfer.works = dist.batch_isend_irecv(operations) if operations else []
    return transfer


class _Halo(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tails_PBHD: Tensor, transfer: _Transfer, cp: ContextParallel) -> Tensor:
        ctx.cp = cp
        return transfer.wait()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dhalos_PBHD: Tensor) -> tuple[Tensor, None, None]:
        return _pass_on(dhalos_PBHD, ctx.cp, -1).wait(), None, None


def convolve_with_halo(
    u_BTD: Tensor, convolution: Convolution, h_GK: Tensor, cp: ContextParallel, field: str = "filter_length"
) -> Tensor:
    """The convolution of the whole sequence at this rank's tokens, [B, T, D] in and out.

    Args:
        u_BTD: this rank's tokens.
        convolution: how h is convolved.
        h_GK: its taps, lag 0 first.
        cp: the ranks of the sequence.
        field: what the configuration calls the taps, for the message.

    Raises:
        UserError: a piece is shorter than the filter reaches back.
    """
    batch, pieces, reach = u_BTD.shape[0], cp.pieces_per_rank, h_GK.shape[1] - 1
    length = u_BTD.shape[1] // pieces
    if reach > length:
        fix = f"it reaches beyond a piece of {length} tokens; use at most {length + 1}, fewer ranks, or all_to_all"
        raise UserError(field, reach + 1, fix)
    if reach == 0:
        return convolve(u_BTD, convolution, h_GK)
    u_BPID = u_BTD.unflatten(1, (pieces, length))
    tails_PBHD = u_BPID[:, :, length - reach :].transpose(0, 1)
    transfer = _pass_on(tails_PBHD.detach(), cp, 1)
    y_RID = convolve(u_BPID.flatten(0, 1), convolution, h_GK)
    halos_PBHD: Tensor = _Halo.apply(tails_PBHD, transfer, cp)  # type: ignore[no-untyped-call]
    behind_RSD = pad(halos_PBHD.transpose(0, 1).flatten(0, 1), (0, 0, 0, reach))
    first_RHD = y_RID[:, :reach] + convolve(behind_RSD, convolution, h_GK)[:, reach:]
    return torch.cat((first_RHD, y_RID[:, reach:]), 1).view(batch, pieces * length, -1)
