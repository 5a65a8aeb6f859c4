"""Tokens to their experts on other processes and back: sorted by expert, sent in uneven shares, nothing dropped.

The exchange of MegaBlocks (arXiv:2211.15841) and GShard (arXiv:2006.16668, section 3.2) without a capacity: no expert
is padded to the largest, and which token reaches which expert does not depend on how the experts are spread.

R rows (this process's tokens), D width, K chosen per token, A rows sorted by expert, E experts, N ranks, X = E / N
experts of a rank, S rows that this rank's experts get from all ranks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture.mlp import Activation
from harmony_core.models.expert_parallel.group import ExpertParallel
from harmony_core.models.ops.moe.assignments import Assignments, order_by_expert, sort_into_groups
from harmony_core.models.ops.moe.experts import routed_experts
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def dispatched_experts(
    x_RD: Tensor,
    weights_RK: Tensor,
    chosen_RK: Tensor,
    up_XUD: Tensor,
    down_XDF: Tensor,
    activation: Activation,
    kept_RK: Tensor | None,
    ep: ExpertParallel,
    up_bias_XU: Tensor | None = None,
    meanwhile: Callable[[], Tensor] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """As `ops.experts.routed_experts`, with experts of which this rank holds X: a collective of the group.

    Rows travel in the type that the experts compute in.

    Args:
        x_RD: this rank's tokens.
        weights_RK: fp32 weight of each choice.
        chosen_RK: int64 global expert of each choice.
        up_XUD: up-projections of this rank's experts.
        down_XDF: their down-projections.
        activation: between the two.
        kept_RK: which choices count, bool; None is all. The others are not sent.
        ep: the ranks that share one copy of the experts.
        up_bias_XU: biases of the up-projections, or None.
        meanwhile: computed while the rows are on their way to their experts.

    Returns:
        [R, D], and what `meanwhile` answered.
    """
    assigned, ends_E = sort_into_groups(chosen_RK, kept_RK, len(up_XUD) * ep.size)
    counts_NX = ends_E.long().diff(prepend=ends_E.new_zeros(1)).view(ep.size, -1)
    received_NX = ep.exchange_counts(counts_NX)
    # One wait for both: the sizes of what is sent and received must be known here.
    sent, received = torch.stack((counts_NX.sum(1), received_NX.sum(1))).tolist()
    rows_AD = _Gather.apply(x_RD, assigned, sum(sent), compute_dtype(x_RD))  # type: ignore[no-untyped-call]
    rows_SD, found = ep.exchange(rows_AD, sent, received, meanwhile)
    local_X = torch.arange(len(up_XUD), device=x_RD.device)
    expert_S1 = local_X.repeat(ep.size).repeat_interleave(received_NX.flatten(), output_size=sum(received)).unsqueeze(1)
    ones_S1 = torch.ones_like(expert_S1, dtype=torch.float32)
    order_S = order_by_expert(received_NX, sum(received))
    y_SD = routed_experts(rows_SD, ones_S1, expert_S1, up_XUD, down_XDF, activation, None, up_bias_XU, order_S)
    y_AD, _ = ep.exchange(y_SD, received, sent)
    return _Combine.apply(y_AD, weights_RK, assigned), found  # type: ignore[no-untyped-call]


class _Gather(torch.autograd.Function):
    """Each token's row once for every expert that it chose; backward is a sum that every token reads for itself."""

    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, assigned: Assignments, rows: int, dtype: torch.dtype) -> Tensor:
        ctx.assigned, ctx.dtype = assigned, x_RD.dtype
        return x_RD.to(dtype)[assigned.token_A[:rows]]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, drows_AD: Tensor) -> tuple[Tensor, None, None, None]:
        return ctx.assigned.combine(drows_AD).to(ctx.dtype), None, None, None


class _Combine(torch.autograd.Function):
    """The weighted sum of each token's rows."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, y_AD: Tensor, weights_RK: Tensor, assigned: Assignments) -> Tensor:
        ctx.save_for_backward(y_AD, weights_RK)
        ctx.assigned = assigned
        return assigned.combine(y_AD, weights_RK.to(y_AD.dtype))

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_RD: Tensor) -> tuple[Tensor, Tensor, None]:
        y_AD, weights_RK = ctx.saved_tensors
        assigned: Assignments = ctx.assigned
        rows = len(y_AD)
        dy_AD = dy_RD[assigned.token_A[:rows]]
        dweights_A = (dy_AD * y_AD).sum(-1, dtype=weights_RK.dtype)
        weights_A = assigned.spread(weights_RK)[:rows]
        return dy_AD.mul_(weights_A.unsqueeze(1).to(dy_AD.dtype)), assigned.collect(dweights_A), None
