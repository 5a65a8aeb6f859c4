"""Mamba-2's gate where no norm stands behind it: y silu(m gate) (Falcon-H1, arXiv:2507.22448)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import silu

from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast
from harmony_core.models.ops.scaling import scaled


def silu_gate_reference(y: Tensor, gate: Tensor, multiplier: float = 1.0) -> Tensor:
    """The formula, in the type of `y`; for tests. Arguments as for `silu_gate`."""
    return y * silu(multiplier * gate)


class _SiLUGate(torch.autograd.Function):
    """Keeps its inputs alone; the gate is opened again in backward."""

    @staticmethod
    @without_autocast
    def forward(ctx: Any, y: Tensor, gate: Tensor, multiplier: float, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(y, gate)
        ctx.multiplier = multiplier
        return silu(scaled(at_least_fp32(gate), multiplier)).mul_(y).to(dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor, Tensor, None, None]:
        y, gate = ctx.saved_tensors
        opening, dz = scaled(at_least_fp32(gate), ctx.multiplier), at_least_fp32(dz)
        dgate = scaled(torch.ops.aten.silu_backward(dz * y, opening), ctx.multiplier)
        return silu(opening).mul_(dz).to(y.dtype), dgate.to(gate.dtype), None, None


def silu_gate(y: Tensor, gate: Tensor, multiplier: float = 1.0) -> Tensor:
    """y silu(multiplier gate), in fp32, or fp64 where the gate is.

    Args:
        y: [.., I].
        gate: [.., I].
        multiplier: factor of the gate before it opens.

    Returns:
        [.., I] in the type of `gate`, under autocast in the autocast type.
    """
    return _SiLUGate.apply(y, gate, multiplier, compute_dtype(gate))  # type: ignore[no-any-return, no-untyped-call]
