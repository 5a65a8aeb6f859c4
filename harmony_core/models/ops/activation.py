"""Feed-forward activations by name, over a projection that holds gate and up side by side where there is a gate.

`swiglu` is silu(gate) up (Shazeer 2020, arXiv:2002.05202, equation 6), `gelu` the exact one, `relu2` max(x, 0)^2
(So et al. 2021, arXiv:2109.08668).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from harmony_core.architecture.mlp import Activation
from harmony_core.models.ops.precision import without_autocast


def activate_reference(projected: Tensor, activation: Activation) -> Tensor:
    """The formulas."""
    if activation == "swiglu":
        gate, up = projected.chunk(2, -1)
        return silu(gate) * up
    return gelu(projected) if activation == "gelu" else torch.relu(projected).square()


def forward(projected: Tensor, activation: Activation) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The activation, and what `backward` needs to know."""
    if activation == "swiglu":
        gate, up = projected.chunk(2, -1)
        activated = silu(gate)
        return activated * up, (projected, activated)
    return activate_reference(projected, activation), (projected,)


def backward(dy: Tensor, activation: Activation, kept: tuple[Tensor, ...]) -> Tensor:
    """The gradient with respect to the projection."""
    if activation == "gelu":
        return torch.ops.aten.gelu_backward(dy, kept[0])  # type: ignore[no-any-return]
    if activation == "relu2":
        return torch.relu(kept[0]).mul_(2).mul_(dy)
    projected, activated = kept
    gate, up = projected.chunk(2, -1)
    d_projected = torch.empty_like(projected)
    d_gate, d_up = d_projected.chunk(2, -1)
    torch.mul(dy, activated, out=d_up)
    torch.ops.aten.silu_backward.grad_input(dy * up, gate, grad_input=d_gate)
    return d_projected


class _Activation(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, projected: Tensor, activation: Activation) -> Tensor:
        y, kept = forward(projected, activation)
        ctx.save_for_backward(*kept)
        ctx.activation = activation
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        return backward(dy, ctx.activation, ctx.saved_tensors), None


def activate(projected: Tensor, activation: Activation) -> Tensor:
    """[.., 2F] -> [.., F] for `swiglu`, [.., F] -> [.., F] for `gelu` and `relu2`."""
    return _Activation.apply(projected, activation)  # type: ignore[no-any-return, no-untyped-call]
