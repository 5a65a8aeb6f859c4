"""Mamba-2 with its gated RMSNorm (Dao and Gu 2024, arXiv:2405.21060, sections 6 and 7).

B batch, T tokens, D model width, I inner width, H heads, P head width, G groups, N state width, C conv channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import Mamba2
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.kernels import ssd_kernel
from harmony_core.models.norm import EPSILON, RMSNorm
from harmony_core.models.ops.convolution import conv_silu, conv_silu_step
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.rms_norm import rms_norm
from harmony_core.models.ops.ssd import ssd
from harmony_core.models.parameter import ParameterSpec, constant, matrix, uniform
from harmony_core.models.registry import implements


def draw_dt_bias(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """The bias whose softplus is log-uniform in [1e-3, 1e-1], as the Mamba authors initialise it."""
    low, high = math.log(1e-3), math.log(1e-1)
    dt = torch.exp(torch.rand(tuple(shape), generator=generator) * (high - low) + low)
    return dt + torch.log(-torch.expm1(-dt))


def _draw_a_log(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    return uniform(1.0, 16.0)(shape, generator).log()


@implements("mamba2")
class Mamba2Module(BlockModule):
    """One projection to gate, x, B, C and step sizes; convolution; scan; gated norm; projection back.

    The norm runs over each group's share of the inner width, as the authors' code and `transformers` have it.
    """

    ones_of_a_group: Tensor

    def __init__(self, config: Mamba2, d_model: int) -> None:
        super().__init__()
        self.config = config
        self.d_inner, self.conv_dim = config.d_inner(d_model), config.conv_dim(d_model)
        self.num_heads = heads = config.num_heads(d_model)
        self.in_proj = self.declare("in_proj", (self.d_inner + self.conv_dim + heads, d_model), matrix(d_model))
        bound = 1 / math.sqrt(config.d_conv)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.d_conv)
        self.conv = self.declare("conv", (self.conv_dim, config.d_conv), taps)
        self.conv_bias = self.declare("conv_bias", (self.conv_dim,), ParameterSpec(constant(0.0)))
        self.dt_bias = self.declare("dt_bias", (heads,), ParameterSpec(draw_dt_bias))
        self.a_log = self.declare("a_log", (heads,), ParameterSpec(_draw_a_log))
        self.skip = self.declare("skip", (heads,), ParameterSpec(constant(1.0)))
        self.norm = RMSNorm(self.d_inner)
        self.register_buffer("ones_of_a_group", torch.ones(self.d_inner // config.n_groups), persistent=False)
        self.out = self.declare("out", (d_model, self.d_inner), matrix(self.d_inner, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTI, xbc_BTC, dt_BTH = self._project(x_BTD)
        x_BTHP, b_BTGN, c_BTGN = self._split(conv_silu(xbc_BTC, self.conv, self.conv_bias))
        y_BTHP = self._scan(x_BTHP, dt_BTH, b_BTGN, c_BTGN)
        return self._finish(y_BTHP + self.skip[:, None] * x_BTHP, gate_BTI)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate [.., I], convolution's input [.., C], step sizes [.., H] in fp32."""
        gate, xbc, dt = linear(x, self.in_proj).split((self.d_inner, self.conv_dim, self.num_heads), -1)
        return gate, xbc, torch.nn.functional.softplus(dt.float() + self.dt_bias)

    def _split(self, xbc: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [.., H, P], B and C [.., G, N]."""
        config = self.config
        maps = config.n_groups * config.d_state
        x, b, c = xbc.split((self.d_inner, maps, maps), -1)
        groups = (config.n_groups, config.d_state)
        return x.unflatten(-1, (-1, config.head_dim)), b.unflatten(-1, groups), c.unflatten(-1, groups)

    def _scan(self, x_BTHP: Tensor, dt_BTH: Tensor, b_BTGN: Tensor, c_BTGN: Tensor) -> Tensor:
        a_H, chunk = -torch.exp(self.a_log.float()), self.config.chunk_size
        kernel = ssd_kernel(x_BTHP.device.type)
        if kernel is not None:
            y: Tensor = kernel(x_BTHP, dt_BTH, a_H, b_BTGN, c_BTGN, chunk)
            return y
        return ssd(x_BTHP, dt_BTH, a_H, b_BTGN, c_BTGN, chunk)

    def _finish(self, y: Tensor, gate: Tensor) -> Tensor:
        gated = y.flatten(-2) * torch.nn.functional.silu(gate)
        if self.config.n_groups == 1:
            return linear(self.norm(gated), self.out)
        normed = rms_norm(gated.unflatten(-1, (self.config.n_groups, -1)), self.ones_of_a_group, EPSILON)
        return linear(normed.flatten(-2) * self.norm.weight, self.out)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        config = self.config
        ssm = (batch_size, self.num_heads, config.head_dim, config.d_state)
        return {
            "conv": torch.zeros((batch_size, self.conv_dim, config.d_conv), device=device, dtype=dtype),
            "ssm": torch.zeros(ssm, device=device),
        }

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        gate_BI, xbc_BC, dt_BH = self._project(x_BD)
        x_BHP, b_BGN, c_BGN = self._split(conv_silu_step(xbc_BC, state["conv"], self.conv, self.conv_bias))
        heads_per_group = self.num_heads // self.config.n_groups
        b_BHN, c_BHN = (t.float().repeat_interleave(heads_per_group, 1) for t in (b_BGN, c_BGN))
        decay_BH = torch.exp(dt_BH * -torch.exp(self.a_log.float()))
        update_BHPN = (x_BHP.float() * dt_BH.unsqueeze(-1)).unsqueeze(-1) * b_BHN.unsqueeze(2)
        ssm_BHPN = state["ssm"].mul_(decay_BH[..., None, None]).add_(update_BHPN)
        y_BHP = (ssm_BHPN * c_BHN.unsqueeze(2)).sum(-1) + self.skip[:, None] * x_BHP
        return self._finish(y_BHP, gate_BI)

    @override
    def kernel_path(self) -> str:
        return "torch chunked scan" if ssd_kernel(self.device.type) is None else "mamba-ssm"
