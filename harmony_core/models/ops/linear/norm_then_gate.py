"""A delta rule's output norm: RMSNorm(y) weight act(gate) over each head (arXiv:2412.06464, section 3.4).

R rows (tokens of all heads), V value width.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.functional import silu

from harmony_core.models.kernels import head_norm_kernel
from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast

Gate = Literal["silu", "sigmoid"]


def norm_then_gate_reference(y: Tensor, gate: Tensor, w_V: Tensor, epsilon: float, activation: Gate) -> Tensor:
    """The formula, in the type of `y`; for tests. Arguments as for `norm_then_gate`."""
    normed: Tensor = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + epsilon) * w_V
    return normed * (silu(gate) if activation == "silu" else gate.sigmoid())


def _open(gate: Tensor, activation: Gate) -> Tensor:
    return silu(gate) if activation == "silu" else gate.sigmoid()


def _scale(y: Tensor, epsilon: float) -> Tensor:
    """What each head of `y` is multiplied by, [.., 1]."""
    norm: Tensor = torch.linalg.vector_norm(y, dim=-1, keepdim=True)
    return norm.square_().div_(y.shape[-1]).add_(epsilon).rsqrt_()


class _NormThenGate(torch.autograd.Function):
    """Keeps its inputs and one scale a row; the gate is opened again in backward."""

    @staticmethod
    @without_autocast
    def forward(
        ctx: Any, y: Tensor, gate: Tensor, w_V: Tensor, epsilon: float, activation: Gate, dtype: torch.dtype
    ) -> Tensor:
        y_float = at_least_fp32(y)
        scale = _scale(y_float, epsilon)
        ctx.save_for_backward(y_float, gate, w_V, scale)
        ctx.activation, ctx.types = activation, (y.dtype, gate.dtype, w_V.dtype)
        return (y_float * scale).mul_(w_V).mul_(_open(at_least_fp32(gate), activation)).to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        y, gate, w_V, scale = ctx.saved_tensors
        gate, w_V = at_least_fp32(gate), at_least_fp32(w_V)
        opened = _open(gate, ctx.activation)
        normed = y * scale
        dweighted = dz * opened
        dw_V = torch.einsum("rv,rv->v", dweighted.flatten(0, -2), normed.flatten(0, -2))
        dopened = (normed * w_V).mul_(dz)
        if ctx.activation == "silu":
            dgate = torch.ops.aten.silu_backward(dopened, gate)
        else:
            dgate = torch.ops.aten.sigmoid_backward(dopened, opened)
        dnormed = dweighted.mul_(w_V)
        along = torch.linalg.vecdot(dnormed, normed).unsqueeze(-1).div_(-y.shape[-1])
        dy = dnormed.addcmul_(normed, along).mul_(scale)
        gradients = zip((dy, dgate, dw_V), ctx.types, strict=True)
        return *(gradient.to(dtype) for gradient, dtype in gradients), None, None, None


def norm_then_gate(y: Tensor, gate: Tensor, w_V: Tensor, epsilon: float, activation: Gate) -> Tensor:
    """RMSNorm of each head's outputs, times its weight, times the opened gate; in fp32, or fp64 where `y` is.

    Args:
        y: [.., V].
        gate: [.., V].
        w_V: the norm's weight, the same for all heads.
        epsilon: added to the mean square.
        activation: how the gate opens.

    Returns:
        [.., V] in the type of `gate`, under autocast in the autocast type.
    """
    dtype = compute_dtype(gate)
    kernel = head_norm_kernel(y.device.type)
    if kernel is not None:
        # It computes in fp32, and gives the type that it reads.
        z: Tensor = kernel(y.to(dtype), gate.to(dtype), w_V, None, activation, eps=epsilon)
        return z
    if not torch.is_grad_enabled():
        y_float = at_least_fp32(y)
        normed = (y_float * _scale(y_float, epsilon)).mul_(w_V)
        return normed.mul_(_open(at_least_fp32(gate), activation)).to(dtype)
    return _NormThenGate.apply(y, gate, w_V, epsilon, activation, dtype)  # type: ignore[no-any-return, no-untyped-call]
