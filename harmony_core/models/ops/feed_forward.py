"""One feed-forward network: up, activation, down.

Backward is left the input and the projection, on a CPU the opened gate too, and computes the rest of the activation
again: half of what autograd would keep, or three quarters.

R rows (tokens), D model width, U width of the up-projection (gate and up joined), F inner width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from harmony_core.architecture.mlp import Activation
from harmony_core.models.kernels import keeps_opened_gates
from harmony_core.models.ops import activation as act
from harmony_core.models.ops.matmul import bias_gradient, input_gradient, product, weight_gradient
from harmony_core.models.ops.precision import compute_dtype, without_autocast


def feed_forward_reference(
    x: Tensor,
    up_UD: Tensor,
    up_bias_U: Tensor | None,
    down_DF: Tensor,
    down_bias_D: Tensor | None,
    activation: Activation,
    gate_multiplier: float = 1.0,
) -> Tensor:
    """As it is written; arguments as for `feed_forward`."""
    projected = linear(x, up_UD, up_bias_U)
    if gate_multiplier != 1.0:
        gate, up = projected.chunk(2, -1)
        projected = torch.cat((gate * gate_multiplier, up), -1)
    return linear(act.activate_reference(projected, activation), down_DF, down_bias_D)


class _FeedForward(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(
        ctx: Any,
        x: Tensor,
        up_UD: Tensor,
        up_bias_U: Tensor | None,
        down_DF: Tensor,
        down_bias_D: Tensor | None,
        activation: Activation,
        gate_multiplier: float,
        dtype: torch.dtype,
    ) -> Tensor:
        x_RD, up, down = x.reshape(-1, x.shape[-1]).to(dtype), up_UD.to(dtype), down_DF.to(dtype)
        projected_RU, opened_RF, y_RD = _products(x_RD, up, up_bias_U, down, down_bias_D, activation, gate_multiplier)
        kept = opened_RF if keeps_opened_gates(x.device.type) else None
        ctx.save_for_backward(x_RD, projected_RU, kept, up, down)
        ctx.activation, ctx.gate_multiplier, ctx.shape = activation, gate_multiplier, x.shape
        ctx.types = [None if t is None else t.dtype for t in (x, up_UD, up_bias_U, down_DF, down_bias_D)]
        return y_RD.view(x.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x_RD, projected_RU, opened_RF, up, down = ctx.saved_tensors
        needs, types, activation = ctx.needs_input_grad, ctx.types, ctx.activation
        dy_RD = dy.reshape(x_RD.shape)
        inner_RF, opened_RF = act.again(projected_RU, opened_RF, activation)
        d_down = weight_gradient(dy_RD, inner_RF).to(types[3]) if needs[3] else None
        d_down_bias = bias_gradient(dy_RD, types[4]) if needs[4] else None
        del inner_RF
        d_projected_RU = act.backward(input_gradient(dy_RD, down), projected_RU, opened_RF, activation)
        del opened_RF
        _scale_gate(d_projected_RU, ctx.gate_multiplier)
        d_up = weight_gradient(d_projected_RU, x_RD).to(types[1]) if needs[1] else None
        d_up_bias = bias_gradient(d_projected_RU, types[2]) if needs[2] else None
        dx = input_gradient(d_projected_RU, up).view(ctx.shape).to(types[0]) if needs[0] else None
        return dx, d_up, d_up_bias, d_down, d_down_bias, None, None, None


def _scale_gate(projected_RU: Tensor, multiplier: float) -> None:
    """Multiplies the first half of each row in place."""
    if multiplier != 1.0:
        projected_RU.chunk(2, -1)[0].mul_(multiplier)


def _products(
    x_RD: Tensor,
    up: Tensor,
    up_bias: Tensor | None,
    down: Tensor,
    down_bias: Tensor | None,
    activation: Activation,
    gate_multiplier: float,
) -> tuple[Tensor, Tensor | None, Tensor]:
    """The projection [R, U], gate multiplied, its opened gate [R, F] and the output [R, D], in the type of `x_RD`."""
    up_bias, down_bias = (None if bias is None else bias.to(x_RD.dtype) for bias in (up_bias, down_bias))
    projected_RU = product(x_RD, up, up_bias)
    _scale_gate(projected_RU, gate_multiplier)
    inner_RF, opened_RF = act.forward(projected_RU, activation)
    return projected_RU, opened_RF, product(inner_RF, down, down_bias)


@without_autocast
def _inference(
    x: Tensor,
    up_UD: Tensor,
    up_bias_U: Tensor | None,
    down_DF: Tensor,
    down_bias_D: Tensor | None,
    activation: Activation,
    gate_multiplier: float,
    dtype: torch.dtype,
) -> Tensor:
    x_RD, up, down = x.reshape(-1, x.shape[-1]).to(dtype), up_UD.to(dtype), down_DF.to(dtype)
    return _products(x_RD, up, up_bias_U, down, down_bias_D, activation, gate_multiplier)[2].view(x.shape)


def feed_forward(
    x: Tensor,
    up_UD: Tensor,
    up_bias_U: Tensor | None,
    down_DF: Tensor,
    down_bias_D: Tensor | None,
    activation: Activation,
    gate_multiplier: float = 1.0,
) -> Tensor:
    """down(activation(up(x))) over the last dimension of `x`.

    Args:
        x: [.., D].
        up_UD: up-projection, gate and up joined (gate first) where the activation has a gate.
        up_bias_U: its bias, or None.
        down_DF: down-projection.
        down_bias_D: its bias, or None.
        activation: between the two.
        gate_multiplier: what the projected gate is multiplied with before it opens; 1 where there is no gate.

    Returns:
        [.., D] in the type of `x`, or autocast's where that is on.
    """
    run: Callable[..., Tensor] = _FeedForward.apply if torch.is_grad_enabled() else _inference
    return run(x, up_UD, up_bias_U, down_DF, down_bias_D, activation, gate_multiplier, compute_dtype(x))
