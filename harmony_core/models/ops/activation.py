"""Feed-forward activations by name, over a projection that holds gate and up side by side where there is a gate.

`swiglu` is silu(gate) up, `geglu` gelu(gate) up with the exact GELU and `geglu_tanh` with its approximation by tanh
(Hendrycks and Gimpel 2016, arXiv:1606.08415, section 2), `bilinear` gate up (Shazeer 2020, arXiv:2002.05202, equations
5 and 6); `clamped_swiglu` is g sigmoid(1.702 g) (u + 1) with g = min(gate, 7) and u = up
within -7 and 7 (gpt-oss 2025, arXiv:2508.10925); `gelu` is the exact one, `relu2` max(x, 0)^2 (So et al. 2021,
arXiv:2109.08668).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import gelu, silu

from harmony_core.architecture.mlp import GATED, Activation

# Of gpt-oss's clamped SwiGLU: the sigmoid's gain and the limit of both halves.
_GAIN, _LIMIT = 1.702, 7.0


def gates(activation: Activation) -> int:
    """How many inner widths the projection holds: 2 with a gate, 1 without."""
    return 2 if activation in GATED else 1


def activate_reference(projected: Tensor, activation: Activation) -> Tensor:
    """The formulas: [.., 2F] -> [.., F] with a gate, [.., F] -> [.., F] without."""
    if activation in GATED:
        gate, up = projected.chunk(2, -1)
        return _open(gate, activation) * _factor(up, activation)
    return gelu(projected) if activation == "gelu" else torch.relu(projected).square()


def forward(projected: Tensor, activation: Activation) -> tuple[Tensor, Tensor | None]:
    """The activation, and the opened gate, which `backward` shares; None without a gate."""
    if activation not in GATED:
        return activate_reference(projected, activation), None
    gate, up = projected.chunk(2, -1)
    opened = _open(gate, activation)
    return opened * _factor(up, activation), opened


def again(projected: Tensor, opened: Tensor | None, activation: Activation) -> tuple[Tensor, Tensor | None]:
    """`forward`, with the opened gate that it gave where that was kept.

    Args:
        projected: as `forward` took it.
        opened: the gate as `forward` gave it; None where it was not kept, or there is none.
        activation: as `forward` took it.
    """
    if opened is None:
        return forward(projected, activation)
    return opened * _factor(projected.chunk(2, -1)[1], activation), opened


def backward(dy: Tensor, projected: Tensor, opened: Tensor | None, activation: Activation) -> Tensor:
    """The gradient with respect to the projection, from what `forward` took and gave.

    Args:
        dy: [.., F], gradient of the activation.
        projected: as `forward` took it.
        opened: the gate as `forward` gave it; None without a gate.
        activation: as `forward` took it.
    """
    if opened is not None:
        return _gated_backward(dy, projected, opened, activation)
    if activation == "gelu":
        return torch.ops.aten.gelu_backward(dy, projected)  # type: ignore[no-any-return]
    return torch.relu(projected).mul_(2).mul_(dy)


def _open(gate: Tensor, activation: Activation) -> Tensor:
    if activation == "bilinear":
        return gate
    if activation == "clamped_swiglu":
        gate = gate.clamp(max=_LIMIT)
        return gate * torch.sigmoid(_GAIN * gate)
    if activation == "geglu_tanh":
        return gelu(gate, approximate="tanh")
    return silu(gate) if activation == "swiglu" else gelu(gate)


def _factor(up: Tensor, activation: Activation) -> Tensor:
    """What the opened gate is multiplied with."""
    return up.clamp(-_LIMIT, _LIMIT).add_(1) if activation == "clamped_swiglu" else up


def _clamped_gradients(gate: Tensor, up: Tensor, d_gate: Tensor, d_up: Tensor) -> None:
    """Finishes gradients that are dy times the opened gate (`d_up`) and dy times the factor (`d_gate`)."""
    d_up.mul_(up.abs() <= _LIMIT)
    clamped = gate.clamp(max=_LIMIT)
    opening = torch.sigmoid(_GAIN * clamped)
    slope = (1 - opening).mul_(_GAIN * clamped).add_(1).mul_(opening)
    d_gate.mul_(slope).mul_(gate <= _LIMIT)


def _gated_backward(dy: Tensor, projected: Tensor, opened: Tensor, activation: Activation) -> Tensor:
    gate, up = projected.chunk(2, -1)
    d_projected = torch.empty_like(projected)
    d_gate, d_up = d_projected.chunk(2, -1)
    torch.mul(dy, opened, out=d_up)
    torch.mul(dy, _factor(up, activation), out=d_gate)
    if activation == "swiglu":
        torch.ops.aten.silu_backward.grad_input(d_gate, gate, grad_input=d_gate)
    elif activation == "geglu":
        torch.ops.aten.gelu_backward.grad_input(d_gate, gate, grad_input=d_gate)
    elif activation == "geglu_tanh":
        torch.ops.aten.gelu_backward.grad_input(d_gate, gate, approximate="tanh", grad_input=d_gate)
    elif activation == "clamped_swiglu":
        _clamped_gradients(gate, up, d_gate, d_up)
    return d_projected
