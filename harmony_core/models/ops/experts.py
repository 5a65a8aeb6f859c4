"""Routed experts: tokens sorted by expert, each expert's products over its slice; nothing dropped, no capacity.

R rows (tokens), D model width, E experts, U joined gate and up width, F inner width, K chosen per token,
A = R K assignments (and a few filling rows), sorted by expert, S an expert's slice of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture.mlp import Activation
from harmony_core.models.ops import activation as act
from harmony_core.models.ops.matmul import input_gradient, product, weight_gradient
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def experts_reference(
    x_RD: Tensor, weights_RK: Tensor, chosen_RK: Tensor, up_EUD: Tensor, down_EDF: Tensor, activation: Activation
) -> Tensor:
    """Token by token, expert by expert; for tests."""
    rows = []
    for row in range(x_RD.shape[0]):
        y_D = torch.zeros_like(x_RD[row])
        for weight, expert in zip(weights_RK[row], chosen_RK[row].tolist(), strict=True):
            inner_F = act.activate_reference(up_EUD[expert] @ x_RD[row], activation)
            y_D = y_D + weight * (down_EDF[expert] @ inner_F)
        rows.append(y_D)
    return torch.stack(rows)


class _Experts(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        x_RD: Tensor,
        weights_RK: Tensor,
        up_EUD: Tensor,
        down_EDF: Tensor,
        chosen_RK: Tensor,
        activation: Activation,
        dtype: torch.dtype,
    ) -> Tensor:
        order = _sort(chosen_RK, up_EUD.shape[0])
        sorted_AD = x_RD.to(dtype).index_select(0, order.token_A)
        up, down = up_EUD.to(dtype), down_EDF.to(dtype)
        y_AD, kept = torch.empty_like(sorted_AD), []
        for expert, (x_SD, y_SD) in enumerate(zip(sorted_AD.split(order.sizes), y_AD.split(order.sizes), strict=True)):
            inner_SF, inner_kept = act.forward(product(x_SD, up[expert]), activation)
            y_SD.copy_(product(inner_SF, down[expert]))
            kept += [inner_SF, *inner_kept]
        weights = weights_RK.to(dtype)
        y_RD = torch.zeros_like(sorted_AD[: x_RD.shape[0]])
        for choice, place_R in enumerate(order.place_RK.unbind(1)):
            y_RD.addcmul_(y_AD.index_select(0, place_R), weights[:, choice, None])
        ctx.save_for_backward(sorted_AD, y_AD, weights, up, down, *kept)
        ctx.order, ctx.activation = order, activation
        ctx.types = (x_RD.dtype, weights_RK.dtype, up_EUD.dtype)
        return y_RD

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_RD: Tensor) -> tuple[Tensor | None, ...]:
        sorted_AD, y_AD, weights_RK, up, down, *kept = ctx.saved_tensors
        order: Order = ctx.order
        dy_AD = dy_RD.index_select(0, order.token_A)
        dweights_RK = (y_AD * dy_AD).sum(-1).index_select(0, order.place_RK.flatten()).view_as(weights_RK)
        # Rows that only align a slice have weight zero here, and so add nothing to any gradient.
        weights_A1 = weights_RK.new_zeros(sorted_AD.shape[0], 1)
        weights_A1[order.place_RK.flatten()] = weights_RK.view(-1, 1)
        dy_AD.mul_(weights_A1)
        dup, ddown = (torch.empty_like(w, dtype=ctx.types[2]) for w in (up, down))
        dx_AD, parts = torch.empty_like(sorted_AD), len(kept) // len(order.sizes)
        slices = zip(*(x.split(order.sizes) for x in (sorted_AD, dy_AD, dx_AD)), strict=True)
        for expert, (x_SD, dy_SD, dx_SD) in enumerate(slices):
            inner_SF, *inner_kept = kept[expert * parts : (expert + 1) * parts]
            ddown[expert] = weight_gradient(dy_SD, inner_SF)
            dinner_SF = input_gradient(dy_SD, down[expert])
            dprojected_SU = act.backward(dinner_SF, ctx.activation, tuple(inner_kept))
            dup[expert] = weight_gradient(dprojected_SU, x_SD)
            dx_SD.copy_(input_gradient(dprojected_SU, up[expert]))
        # Each token reads its own K rows back: no atomic sum, so the same bits on every device.
        first_R, *later_KR = order.place_RK.unbind(1)
        dx_RD = dx_AD.index_select(0, first_R)
        for place_R in later_KR:
            dx_RD += dx_AD.index_select(0, place_R)
        return dx_RD.to(ctx.types[0]), dweights_RK.to(ctx.types[1]), dup, ddown, None, None, None


@dataclass(frozen=True)
class Order:
    """Assignments sorted by expert.

    Args:
        token_A: the token of each sorted row.
        place_RK: the sorted row of each (token, choice).
        sizes: rows of each expert's slice.
    """

    token_A: Tensor
    place_RK: Tensor
    sizes: list[int]


def _sort(chosen_RK: Tensor, experts: int) -> Order:
    """A stable sort; on a CPU each slice ends on a multiple of a few rows.

    oneDNN builds a kernel for every new shape, at nano size in 0.4 to 0.8 ms, longer than the product takes, and an
    expert's number of tokens is never the same twice. The few rows that fill a slice repeat token 0, are read by
    nobody and have no gradient; they are at most 1/8 of an even slice, and no more than 63.
    """
    chosen_A = chosen_RK.flatten()
    device, assignments = chosen_A.device, chosen_A.shape[0]
    counts = torch.bincount(chosen_A, minlength=experts)
    even = assignments // (8 * experts)
    align = min(64, 1 << (even.bit_length() - 1)) if even and device.type == "cpu" else 1
    sizes = (counts + align - 1).div(align, rounding_mode="floor") * align
    starts_E, sorted_starts_E = sizes.cumsum(0) - sizes, counts.cumsum(0) - counts
    order_A = chosen_A.argsort(stable=True)
    ranks_A = torch.arange(assignments, device=device)
    places_A = ranks_A + (starts_E - sorted_starts_E)[chosen_A[order_A]]
    sizes_list = sizes.tolist()
    token_A = torch.zeros(sum(sizes_list), dtype=torch.int64, device=device)
    token_A[places_A] = order_A.div(chosen_RK.shape[1], rounding_mode="floor")
    place_A = torch.empty_like(order_A)
    place_A[order_A] = places_A
    return Order(token_A, place_A.view(chosen_RK.shape), sizes_list)


def routed_experts(
    x_RD: Tensor, weights_RK: Tensor, chosen_RK: Tensor, up_EUD: Tensor, down_EDF: Tensor, activation: Activation
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
    dtype = compute_dtype(x_RD)
    return _Experts.apply(x_RD, weights_RK, up_EUD, down_EDF, chosen_RK, activation, dtype)  # type: ignore[no-any-return, no-untyped-call]
