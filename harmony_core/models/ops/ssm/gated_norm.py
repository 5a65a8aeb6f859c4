"""Mamba-2's gated norm: RMSNorm(y silu(gate)) over each group of channels (arXiv:2405.21060, section 7.1).

R rows (tokens), I inner width, G groups, J channels of a group.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from harmony_core.models.kernels import group_norm_kernel
from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast


def gated_norm_reference(y: Tensor, gate: Tensor, w_I: Tensor, epsilon: float, groups: int) -> Tensor:
    """The formula, in fp32, returned in the type of `gate`; arguments as for `gated_norm`."""
    gated = (y.float() * silu(gate.float())).unflatten(-1, (groups, -1))
    normed: Tensor = gated * torch.rsqrt(gated.square().mean(-1, keepdim=True) + epsilon)
    return (normed.flatten(-2) * w_I.float()).to(gate.dtype)


@without_autocast
def _normalise(
    y: Tensor, gate: Tensor, w_I: Tensor, epsilon: float, groups: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """The result, and what each group was scaled by, [R, G, 1]."""
    x_RGJ = _grouped(silu(at_least_fp32(gate)).mul_(y), groups)
    scale_RG1 = torch.linalg.vector_norm(x_RGJ, dim=-1, keepdim=True)
    scale_RG1 = scale_RG1.square_().div_(x_RGJ.shape[-1]).add_(epsilon).rsqrt_()
    return x_RGJ.mul_(scale_RG1).mul_(w_I.view(groups, -1)).view(y.shape).to(dtype), scale_RG1


class _GatedNorm(torch.autograd.Function):
    """Keeps its inputs and one scale a row and group; the gate is computed again in backward."""

    @staticmethod
    def forward(
        ctx: Any, y: Tensor, gate: Tensor, w_I: Tensor, epsilon: float, groups: int, dtype: torch.dtype
    ) -> Tensor:
        normed, scale_RG1 = _normalise(y, gate, w_I, epsilon, groups, dtype)
        ctx.save_for_backward(y, gate, w_I, scale_RG1)
        return normed

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        y, gate, w_I, scale_RG1 = ctx.saved_tensors
        groups = scale_RG1.shape[1]
        gate_float, dz_RGJ = at_least_fp32(gate), _grouped(dz, groups)
        w_GJ = at_least_fp32(w_I).view(groups, -1)
        open_gate = silu(gate_float)
        x_RGJ = _grouped(open_gate * y, groups)
        product_GRJ = (dz_RGJ * x_RGJ).transpose(0, 1)
        # The mean over a group of dz w x; both sums over products are matrix-vector products.
        shrink_RG1 = (product_GRJ @ w_GJ.unsqueeze(-1)).transpose(0, 1) * scale_RG1.pow(3).div_(-w_GJ.shape[1])
        dw_GJ = (scale_RG1.permute(1, 2, 0) @ product_GRJ).squeeze(1)
        dx = (dz_RGJ * w_GJ).mul_(scale_RG1).add_(x_RGJ.mul_(shrink_RG1)).view(y.shape)
        dgate = torch.ops.aten.silu_backward(dx * y, gate_float)
        return dx.mul_(open_gate).to(y.dtype), dgate.to(gate.dtype), dw_GJ.view_as(w_I).to(w_I.dtype), None, None, None


def _grouped(x: Tensor, groups: int) -> Tensor:
    return x.reshape(-1, groups, x.shape[-1] // groups)


def run_group_norm(
    kernel: Callable[..., Any], y: Tensor, gate: Tensor, w_I: Tensor, epsilon: float, groups: int, gate_first: bool
) -> Tensor:
    """mamba-ssm's norm of groups, with SiLU's gate before it or behind it; further arguments as for `gated_norm`.

    Args:
        kernel: `rmsnorm_fn` of mamba-ssm.
        gate_first: RMSNorm(y silu(gate)) w, else RMSNorm(y) w silu(gate).
    """
    dtype, width = compute_dtype(gate), y.shape[-1] // groups
    # It gives the type of what it normalises.
    y, gate = y.to(dtype), gate.to(dtype)
    z: Tensor = kernel(y, w_I, None, z=gate, eps=epsilon, group_size=width, norm_before_gate=not gate_first)
    return z


def gated_norm(y: Tensor, gate: Tensor, w_I: Tensor, epsilon: float, groups: int) -> Tensor:
    """RMSNorm of y silu(gate) over each of `groups` shares of the last dimension, in fp32.

    Args:
        y: [.., I].
        gate: [.., I].
        w_I: the norm's weight.
        epsilon: added to the mean square.
        groups: how many equal shares of I are normalised one by one.

    Returns:
        [.., I] in the type of `gate`, under autocast in the autocast type.
    """
    kernel = group_norm_kernel(y.device.type, y.shape[-1] // groups)
    if kernel is not None:
        return run_group_norm(kernel, y, gate, w_I, epsilon, groups, gate_first=True)
    if not torch.is_grad_enabled():
        return _normalise(y, gate, w_I, epsilon, groups, compute_dtype(gate))[0]
    return _GatedNorm.apply(y, gate, w_I, epsilon, groups, compute_dtype(gate))  # type: ignore[no-any-return, no-untyped-call]
