"""Routed experts as grouped products: one kernel for all experts, and no wait for their loads.

The same operator as `experts.routed_experts`, for a GPU. R rows (tokens), D model width, E experts, U width of the
up-projection (gate and up joined), F inner width, K chosen per token, A = R K rows sorted by expert.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from harmony_core.architecture.mlp import Activation
from harmony_core.models.ops import activation as act
from harmony_core.models.ops.moe.assignments import sort_into_groups
from harmony_core.models.ops.precision import without_autocast

GroupedProduct = Callable[..., Tensor]


def grouped_product_reference(a: Tensor, b: Tensor, *, offs: Tensor) -> Tensor:
    """A loop over the groups.

    Args:
        a: rows [A, I], or columns [I, A].
        b: a matrix a group [E, I, O], or for columns of `a` rows [A, O].
        offs: int32 [E], the row or column behind each group's last one.

    Returns:
        [A, O] with not-a-numbers behind the last group; for columns [E, I, O].
    """
    ends = offs.tolist()
    bounds = list(zip([0, *ends], ends, strict=False))
    if b.ndim == 2:
        return torch.stack([a[:, start:end] @ b[start:end] for start, end in bounds])
    # Rows behind the last group belong to nobody.
    rest = a.new_full((a.shape[0] - ends[-1], b.shape[2]), torch.nan)
    return torch.cat([*(a[start:end] @ b[group] for group, (start, end) in enumerate(bounds)), rest])


class _GroupedExperts(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        x_RD: Tensor,
        weights_RK: Tensor,
        up_EUD: Tensor,
        down_EDF: Tensor,
        chosen_RK: Tensor,
        kept_RK: Tensor | None,
        activation: Activation,
        dtype: torch.dtype,
        order_A: Tensor | None,
        multiply: GroupedProduct,
    ) -> Tensor:
        assigned, ends_E = sort_into_groups(chosen_RK, kept_RK, len(up_EUD), order_A)
        x, weights, up, down = (t.to(dtype) for t in (x_RD, weights_RK, up_EUD, down_EDF))
        projected_AU = multiply(x[assigned.token_A], up.transpose(1, 2), offs=ends_E)
        y_AD = multiply(act.forward(projected_AU, activation)[0], down.transpose(1, 2), offs=ends_E)
        ctx.save_for_backward(x, weights, up, down, projected_AU, ends_E)
        ctx.assigned, ctx.activation, ctx.multiply = assigned, activation, multiply
        ctx.types = (x_RD.dtype, weights_RK.dtype, up_EUD.dtype, down_EDF.dtype)
        return assigned.combine(y_AD, weights)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy_RD: Tensor) -> tuple[Tensor | None, ...]:
        x_RD, weights_RK, up, down, projected_AU, ends_E = ctx.saved_tensors
        assigned, multiply = ctx.assigned, ctx.multiply
        weights_A1 = assigned.spread(weights_RK).unsqueeze(1)
        inner_AF, opened_AF = act.forward(projected_AU, ctx.activation)
        dy_AD = dy_RD[assigned.token_A]
        dinner_AF = multiply(dy_AD, down, offs=ends_E)
        # dy . y is (down^T dy) . inner, so that the outputs need not be kept.
        dweights_A = (inner_AF * dinner_AF).sum(-1, dtype=ctx.types[1])
        ddown = multiply(dy_AD.mul_(weights_A1).T, inner_AF, offs=ends_E)
        dprojected_AU = act.backward(dinner_AF.mul_(weights_A1), projected_AU, opened_AF, ctx.activation)
        dup = multiply(dprojected_AU.T, x_RD[assigned.token_A], offs=ends_E)
        dx_RD = assigned.combine(multiply(dprojected_AU, up, offs=ends_E))
        x_type, weights_type, up_type, down_type = ctx.types
        dweights_RK = assigned.collect(dweights_A).to(weights_type)
        return dx_RD.to(x_type), dweights_RK, dup.to(up_type), ddown.to(down_type), *[None] * 6


def grouped_experts(
    x_RD: Tensor,
    weights_RK: Tensor,
    up_EUD: Tensor,
    down_EDF: Tensor,
    chosen_RK: Tensor,
    kept_RK: Tensor | None,
    activation: Activation,
    dtype: torch.dtype,
    order_A: Tensor | None,
    multiply: GroupedProduct,
) -> Tensor:
    """As `experts.routed_experts`, in `dtype`, by a product of `grouped_product_reference`'s form.

    Args:
        x_RD: tokens.
        weights_RK: fp32 weight of each choice.
        up_EUD: up-projections.
        down_EDF: down-projections.
        chosen_RK: int64 expert of each choice.
        kept_RK: which choices count, or None for all.
        activation: between the two projections.
        dtype: type of the products.
        order_A: the choices sorted by expert, where that is known already and all count.
        multiply: the grouped product.
    """
    return _GroupedExperts.apply(  # type: ignore[no-any-return, no-untyped-call]
        x_RD, weights_RK, up_EUD, down_EDF, chosen_RK, kept_RK, activation, dtype, order_A, multiply
    )
