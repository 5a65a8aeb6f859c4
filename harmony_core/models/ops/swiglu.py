"""The gate of SwiGLU: silu(g) u over a joined projection (Shazeer 2020, arXiv:2002.05202, equation 6).

R rows, F inner width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from harmony_core.models.ops.precision import without_autocast


def swiglu_reference(gate_up: Tensor) -> Tensor:
    """The formula."""
    gate, up = gate_up.chunk(2, -1)
    return torch.nn.functional.silu(gate) * up


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    @without_autocast
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        activated = torch.nn.functional.silu(gate)
        ctx.save_for_backward(gate_up, activated)
        return activated * up

    @staticmethod
    @torch.autograd.function.once_differentiable
    @without_autocast
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        gate_up, activated = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        d_gate_up = torch.empty_like(gate_up)
        d_gate, d_up = d_gate_up.chunk(2, -1)
        torch.mul(dy, activated, out=d_up)
        torch.ops.aten.silu_backward.grad_input(dy * up, gate, grad_input=d_gate)
        return d_gate_up


def swiglu(gate_up: Tensor) -> Tensor:
    """silu of the first half of the last dimension times the second half: [.., 2F] -> [.., F]."""
    return _SwiGLU.apply(gate_up)  # type: ignore[no-any-return, no-untyped-call]
