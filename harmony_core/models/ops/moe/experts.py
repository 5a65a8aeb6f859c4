"""Routed experts: tokens sorted by expert, each expert's products over its slice.

Backward is left the rows that experts read and wrote, the projections and on a CPU the opened gates.

R rows (tokens), D model width, E experts, U width of the up-projection (gate and up joined), F inner width,
K chosen per token, A rows sorted by expert, S an expert's slice of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture.mlp import Activation
from harmony_core.models.kernels import grouped_in_one_kernel, grouped_product, keeps_opened_gates
from harmony_core.models.ops import activation as act
from harmony_core.models.ops.matmul import bias_gradient, input_gradient, product, stacked_products, weight_gradient
from harmony_core.models.ops.moe.assignments import FEW, Assignments, Slices, sort_into_slices
from harmony_core.models.ops.moe.grouped_experts import GroupedProduct, grouped_experts
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def experts_reference(
    x_RD: Tensor,
    weights_RK: Tensor,
    chosen_RK: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    activation: Activation,
    kept_RK: Tensor | None = None,
) -> Tensor:
    """Token by token, expert by expert; for tests. Arguments as for `routed_experts`."""
    kept_RK = torch.ones_like(chosen_RK, dtype=torch.bool) if kept_RK is None else kept_RK
    rows = []
    for x_D, weights, chosen, kept in zip(x_RD, weights_RK, chosen_RK.tolist(), kept_RK.tolist(), strict=True):
        y_D = torch.zeros_like(x_D)
        for weight, expert, counts in zip(weights, chosen, kept, strict=True):
            if counts:
                y_D = y_D + weight * (down_EDF[expert] @ act.activate_reference(up_EUD[expert] @ x_D, activation))
        rows.append(y_D)
    return torch.stack(rows)


class _SlicedExperts(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        x_RD: Tensor,
        weights_RK: Tensor,
        up_EUD: Tensor,
        down_EDF: Tensor,
        up_bias_EU: Tensor | None,
        chosen_RK: Tensor,
        kept_RK: Tensor | None,
        activation: Activation,
        dtype: torch.dtype,
        order_A: Tensor | None,
    ) -> Tensor:
        assigned, slices = sort_into_slices(chosen_RK, kept_RK, len(up_EUD), order_A=order_A)
        x, weights, up, down = (t.to(dtype) for t in (x_RD, weights_RK, up_EUD, down_EDF))
        kept: list[Tensor | None] = []
        x_AD = x[assigned.token_A]
        y_AD = _outputs(x_AD, up, down, up_bias_EU, slices, activation, kept)
        ctx.save_for_backward(x_AD, y_AD, weights, up, down, *kept)
        ctx.assigned, ctx.slices, ctx.activation = assigned, slices, activation
        ctx.types = (x_RD.dtype, weights_RK.dtype, up_EUD.dtype, down_EDF.dtype)
        ctx.bias = None if up_bias_EU is None else (up_bias_EU.shape, up_bias_EU.dtype)
        return assigned.combine(y_AD, weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_RD: Tensor) -> tuple[Tensor | None, ...]:
        x_AD, y_AD, weights_RK, up, down, *kept = ctx.saved_tensors
        assigned: Assignments = ctx.assigned
        slices: Slices = ctx.slices
        weights_A1 = assigned.spread(weights_RK).unsqueeze(1)
        make = torch.empty_like if len(slices) == len(up) else torch.zeros_like
        dup, ddown = make(up, dtype=ctx.types[2]), make(down, dtype=ctx.types[3])
        dy_AD = dy_RD[assigned.token_A]
        dweights_A = (y_AD * dy_AD).sum(-1, dtype=ctx.types[1])
        # Rows that only fill a slice have weight zero here, and so add nothing to any gradient.
        dy_AD.mul_(weights_A1)
        dbias = None if ctx.bias is None else torch.zeros(ctx.bias[0], dtype=ctx.bias[1], device=up.device)
        dx_AD = torch.empty_like(x_AD)
        for (expert, start, end), projected_SU, opened_SF in zip(slices, kept[::2], kept[1::2], strict=True):
            dy_SD = dy_AD[start:end]
            inner_SF, opened_SF = act.again(projected_SU, opened_SF, ctx.activation)
            ddown[expert] = weight_gradient(dy_SD, inner_SF)
            dinner_SF = input_gradient(dy_SD, down[expert])
            dprojected_SU = act.backward(dinner_SF, projected_SU, opened_SF, ctx.activation)
            if dbias is not None:
                dbias[expert] = bias_gradient(dprojected_SU, dbias.dtype)
            dup[expert] = weight_gradient(dprojected_SU, x_AD[start:end])
            dx_AD[start:end] = input_gradient(dprojected_SU, up[expert])
        dx_RD = assigned.combine(dx_AD).to(ctx.types[0])
        return dx_RD, assigned.collect(dweights_A), dup, ddown, dbias, *[None] * 5


def _outputs(
    x_AD: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    up_bias_EU: Tensor | None,
    slices: Slices,
    activation: Activation,
    kept: list[Tensor | None] | None,
) -> Tensor:
    """Each row through its expert, [A, D]; each slice's projection and opened gate, or None, are added to `kept`."""
    outputs, keeps = [x_AD[:0]], keeps_opened_gates(x_AD.device.type)
    for expert, start, end in slices:
        bias_U = None if up_bias_EU is None else up_bias_EU[expert].to(x_AD.dtype)
        projected_SU = product(x_AD[start:end], up_EUD[expert].to(x_AD.dtype), bias_U)
        inner_SF, opened_SF = act.forward(projected_SU, activation)
        outputs.append(product(inner_SF, down_EDF[expert].to(x_AD.dtype)))
        if kept is not None:
            kept += [projected_SU, opened_SF if keeps else None]
    return torch.cat(outputs)


def _few_outputs(x_AD: Tensor, up_EUD: Tensor, down_EDF: Tensor, slices: Slices, activation: Activation) -> Tensor:
    """The same with one activation for all experts: of few rows the calls cost more than the work."""
    inner_AF = act.forward(stacked_products(x_AD, up_EUD, slices), activation)[0]
    return stacked_products(inner_AF, down_EDF, slices)


@without_autocast
def _inference(
    x_RD: Tensor,
    weights_RK: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    up_bias_EU: Tensor | None,
    chosen_RK: Tensor,
    kept_RK: Tensor | None,
    activation: Activation,
    dtype: torch.dtype,
    order_A: Tensor | None,
) -> Tensor:
    assigned, slices = sort_into_slices(chosen_RK, kept_RK, len(up_EUD), even=True, order_A=order_A)
    x_AD = x_RD.to(dtype)[assigned.token_A]
    if len(x_AD) and chosen_RK.numel() <= FEW and up_bias_EU is None:
        y_AD = _few_outputs(x_AD, up_EUD, down_EDF, slices, activation)
    else:
        y_AD = _outputs(x_AD, up_EUD, down_EDF, up_bias_EU, slices, activation, None)
    return assigned.combine(y_AD, weights_RK.to(dtype))


def routed_experts(
    x_RD: Tensor,
    weights_RK: Tensor,
    chosen_RK: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    activation: Activation,
    kept_RK: Tensor | None = None,
    up_bias_EU: Tensor | None = None,
    order_A: Tensor | None = None,
) -> Tensor:
    """sum_k weight x expert(x) over the kept choices of every token: [R, D].

    Args:
        x_RD: tokens.
        weights_RK: fp32 weight of each choice.
        chosen_RK: int64 expert of each choice; a token's choices differ.
        up_EUD: up-projections (gate and up joined, gate first, where the activation has a gate).
        down_EDF: down-projections.
        activation: between the two.
        kept_RK: which choices count, bool; None is all. The others are not computed.
        up_bias_EU: biases of the up-projections; those of the down-projections are the caller's to add.
        order_A: the choices sorted by expert, where that is known already and all count.
    """
    dtype = compute_dtype(x_RD)
    choice = chosen_RK, kept_RK, activation, dtype, order_A
    multiply = _grouped(up_EUD, down_EDF, up_bias_EU, dtype)
    if multiply is not None:
        return grouped_experts(x_RD, weights_RK, up_EUD, down_EDF, *choice, multiply)
    run: Callable[..., Tensor] = _SlicedExperts.apply if torch.is_grad_enabled() else _inference
    return run(x_RD, weights_RK, up_EUD, down_EDF, up_bias_EU, *choice)


def experts_path(up_EUD: Tensor, down_EDF: Tensor, up_bias_EU: Tensor | None = None) -> str:
    """Which of the two computes these experts, in the type in force.

    Args:
        up_EUD: up-projections.
        down_EDF: down-projections.
        up_bias_EU: biases of the up-projections, or None.
    """
    if _grouped(up_EUD, down_EDF, up_bias_EU, compute_dtype(up_EUD)) is None:
        return "sorted slices"
    return "grouped GEMM" if grouped_in_one_kernel() else "grouped_mm, a product an expert, which waits for their loads"


def _grouped(up_EUD: Tensor, down_EDF: Tensor, up_bias_EU: Tensor | None, dtype: torch.dtype) -> GroupedProduct | None:
    # The grouped product takes no biases.
    if up_bias_EU is not None:
        return None
    return grouped_product(up_EUD.device.type, dtype, (*up_EUD.shape[1:], down_EDF.shape[2]))
