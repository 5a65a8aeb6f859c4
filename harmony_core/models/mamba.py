"""Mamba-1, for the Jamba and Samba baselines (Gu and Dao 2023, arXiv:2312.00752, section 3).

B batch, T tokens, D model width, I inner width, N state width, K taps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import Mamba
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.kernels import selective_scan_kernel
from harmony_core.models.mamba2 import draw_dt_bias
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.convolution import conv_silu, conv_silu_step
from harmony_core.models.ops.linear_scan import linear_scan
from harmony_core.models.ops.matmul import linear
from harmony_core.models.parameter import ParameterSpec, constant, matrix, uniform
from harmony_core.models.registry import implements


def _draw_a_log(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """S4D-real: -A counts 1 .. N in every channel (arXiv:2206.11893)."""
    return torch.arange(1, shape[1] + 1, dtype=torch.float32).log().expand(*shape)


@implements("mamba")
class MambaModule(BlockModule):
    """Gate and x from one projection; convolution; a scan whose step size, B and C follow x; projection back."""

    def __init__(self, config: Mamba, d_model: int) -> None:
        super().__init__()
        inner, rank, state = config.d_inner(d_model), config.rank(d_model), config.d_state
        self.widths = (rank, state, state)
        self.in_proj = self.declare("in_proj", (2 * inner, d_model), matrix(d_model))
        bound = 1 / math.sqrt(config.d_conv)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.d_conv)
        self.conv = self.declare("conv", (inner, config.d_conv), taps)
        self.conv_bias = self.declare("conv_bias", (inner,), ParameterSpec(constant(0.0)))
        self.x_proj = self.declare("x_proj", (sum(self.widths), inner), matrix(inner))
        # Step sizes are neither decayed nor scaled with the width, so this small matrix counts as a vector.
        self.dt_proj = self.declare("dt_proj", (inner, rank), ParameterSpec(matrix(rank).draw, fan_in=rank))
        self.dt_bias = self.declare("dt_bias", (inner,), ParameterSpec(draw_dt_bias))
        self.a_log = self.declare("a_log", (inner, state), ParameterSpec(_draw_a_log))
        self.skip = self.declare("skip", (inner,), ParameterSpec(constant(1.0)))
        self.norms = torch.nn.ModuleList(RMSNorm(w) for w in self.widths) if config.inner_norms else None
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTI, gate_BTI = linear(x_BTD, self.in_proj).chunk(2, -1)
        x_BTI = conv_silu(x_BTI, self.conv, self.conv_bias)
        y_BTI = self._scan(x_BTI, *self._select(x_BTI)) + self.skip * x_BTI
        return linear(y_BTI * torch.nn.functional.silu(gate_BTI), self.out)

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step sizes [.., I], B and C [.., N], all fp32."""
        dt, b, c = linear(x, self.x_proj).split(self.widths, -1)
        if self.norms is not None:
            dt, b, c = (norm(t) for norm, t in zip(self.norms, (dt, b, c), strict=True))
        dt = torch.nn.functional.softplus(linear(dt, self.dt_proj).float() + self.dt_bias)
        return dt, b.float(), c.float()

    def _scan(self, x_BTI: Tensor, dt_BTI: Tensor, b_BTN: Tensor, c_BTN: Tensor) -> Tensor:
        a_IN = -torch.exp(self.a_log.float())
        kernel = selective_scan_kernel(x_BTI.device.type)
        if kernel is not None:
            x, dt, b, c = (t.mT.contiguous() for t in (x_BTI.float(), dt_BTI, b_BTN, c_BTN))
            y: Tensor = kernel(x, dt, a_IN, b, c)
            return y.mT
        decay_BTIN = torch.exp(dt_BTI.unsqueeze(-1) * a_IN)
        update_BTIN = (dt_BTI * x_BTI).unsqueeze(-1) * b_BTN.unsqueeze(2)
        states_BTIN = linear_scan(decay_BTIN.flatten(2), update_BTIN.flatten(2)).view(decay_BTIN.shape)
        with torch.autocast(x_BTI.device.type, enabled=False):
            return (states_BTIN @ c_BTN.unsqueeze(-1)).squeeze(-1)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        shape = (batch_size, *self.conv.shape)
        return {
            "conv": torch.zeros(shape, device=device, dtype=dtype),
            "ssm": torch.zeros((batch_size, *self.a_log.shape), device=device),
        }

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        x_BI, gate_BI = linear(x_BD, self.in_proj).chunk(2, -1)
        x_BI = conv_silu_step(x_BI, state["conv"], self.conv, self.conv_bias)
        dt_BI, b_BN, c_BN = self._select(x_BI)
        decay_BIN = torch.exp(dt_BI.unsqueeze(-1) * -torch.exp(self.a_log.float()))
        ssm_BIN = state["ssm"].mul_(decay_BIN).add_((dt_BI * x_BI).unsqueeze(-1) * b_BN.unsqueeze(1))
        y_BI = (ssm_BIN * c_BN.unsqueeze(1)).sum(-1) + self.skip * x_BI
        return linear(y_BI * torch.nn.functional.silu(gate_BI), self.out)

    @override
    def kernel_path(self) -> str:
        return "torch chunked recurrence" if selective_scan_kernel(self.device.type) is None else "mamba-ssm"
