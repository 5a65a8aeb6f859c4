"""Routed experts: tokens sorted by expert, each expert one product over its slice, nothing dropped or padded.

R rows (tokens), D model width, E experts, U joined gate and up width, F inner width, K chosen per token,
A = R K assignments, sorted by expert.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture.mlp import Activation
from harmony_core.models.ops.activation import activate
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import without_autocast


def experts_reference(
    x_RD: Tensor,
    weights_RK: Tensor,
    chosen_RK: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    activation: Activation,
) -> Tensor:
    """Token by token, expert by expert; for tests."""
    rows = []
    for row in range(x_RD.shape[0]):
        y_D = torch.zeros_like(x_RD[row])
        for weight, expert in zip(weights_RK[row], chosen_RK[row].tolist(), strict=True):
            y_D = y_D + weight * (down_EDF[expert] @ activate(up_EUD[expert] @ x_RD[row], activation))
        rows.append(y_D)
    return torch.stack(rows)


class _Gather(torch.autograd.Function):
    """Each token's row once for each expert it chose, in the experts' order; the gradient needs no atomic sum."""

    @staticmethod
    def forward(ctx: Any, x_RD: Tensor, token_A: Tensor, place_RK: Tensor) -> Tensor:
        ctx.save_for_backward(place_RK)
        return x_RD.index_select(0, token_A)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy_AD: Tensor) -> tuple[Tensor, None, None]:
        (place_RK,) = ctx.saved_tensors
        return dy_AD.index_select(0, place_RK.flatten()).unflatten(0, place_RK.shape).sum(1), None, None


class _Combine(torch.autograd.Function):
    """The weighted sum of what a token's experts said."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, y_AD: Tensor, weights_RK: Tensor, token_A: Tensor, place_RK: Tensor) -> Tensor:
        picked_RKD = y_AD.index_select(0, place_RK.flatten()).unflatten(0, place_RK.shape)
        weights_RK = weights_RK.to(y_AD.dtype)
        ctx.save_for_backward(picked_RKD, weights_RK, token_A, place_RK)
        return torch.bmm(weights_RK.unsqueeze(1), picked_RKD).squeeze(1)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_RD: Tensor) -> tuple[Tensor, Tensor, None, None]:
        picked_RKD, weights_RK, token_A, place_RK = ctx.saved_tensors
        dweights_RK = torch.bmm(picked_RKD, dy_RD.unsqueeze(-1)).squeeze(-1)
        sorted_weights_A = torch.empty_like(weights_RK.flatten()).scatter_(0, place_RK.flatten(), weights_RK.flatten())
        return (
            dy_RD.index_select(0, token_A).mul_(sorted_weights_A.unsqueeze(1)),
            dweights_RK.float(),
            None,
            None,
        )


def routed_experts(
    x_RD: Tensor,
    weights_RK: Tensor,
    chosen_RK: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    activation: Activation,
) -> Tensor:
    """sum_k weight x expert(x) for every token: [R, D].

    Args:
        x_RD: tokens.
        weights_RK: fp32 weight of each choice.
        chosen_RK: int64 expert of each choice; a token's choices differ.
        up_EUD: up-projections (gate and up joined for SwiGLU).
        down_EDF: down-projections.
        activation: between the two.
    """
    order_A = chosen_RK.flatten().argsort(stable=True)
    place_RK = torch.empty_like(order_A).scatter_(0, order_A, torch.arange(order_A.shape[0], device=order_A.device))
    place_RK = place_RK.view(chosen_RK.shape)
    token_A = order_A.div(chosen_RK.shape[1], rounding_mode="floor")
    counts = torch.bincount(chosen_RK.flatten(), minlength=up_EUD.shape[0]).tolist()
    sorted_AD = _Gather.apply(x_RD, token_A, place_RK)  # type: ignore[no-untyped-call]
    pieces = [
        linear(activate(linear(slice_, up_UD), activation), down_DF)
        for slice_, up_UD, down_DF in zip(sorted_AD.split(counts), up_EUD.unbind(), down_EDF.unbind(), strict=True)
    ]
    y_AD = torch.cat(pieces)
    return _Combine.apply(y_AD, weights_RK, token_A, place_RK)  # type: ignore[no-any-return, no-untyped-call]
