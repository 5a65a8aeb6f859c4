"""Mamba-2 with its gated RMSNorm (Dao and Gu 2024, arXiv:2405.21060, sections 6 and 7).

B batch, T tokens, D model width, I inner width, H heads, P head width, G groups, N state width, C conv channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from harmony_core.architecture import Mamba2
from harmony_core.architecture.mamba2 import NO_MULTIPLIERS
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import group_norm_kernel, ssd_kernel
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.convolution.convolution import conv_silu, conv_silu_step, last_inputs
from harmony_core.models.ops.documents import conv_silu_documents, ssd_documents
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.models.ops.rms_norm import rms_norm
from harmony_core.models.ops.scaling import scaled
from harmony_core.models.ops.ssm.gated_norm import gated_norm, run_group_norm
from harmony_core.models.ops.ssm.mamba_kernels import run_ssd_kernel
from harmony_core.models.ops.ssm.silu_gate import silu_gate
from harmony_core.models.ops.ssm.ssd import ssd, ssd_step
from harmony_core.models.parameter import ParameterSpec, constant, matrix, uniform
from harmony_core.models.registry import implements


def draw_dt_bias(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """The bias whose softplus is log-uniform in [1e-3, 1e-1], as the Mamba authors initialise it."""
    low, high = math.log(1e-3), math.log(1e-1)
    dt = torch.exp(torch.rand(tuple(shape), generator=generator) * (high - low) + low)
    return dt + torch.log(-torch.expm1(-dt))


def draw_a_log(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Logarithms of decay rates that are uniform in [1, 16]."""
    return uniform(1.0, 16.0)(shape, generator).log()


@implements("mamba2")
class Mamba2Module(BlockModule):
    """One projection to gate, x, B, C and step sizes; convolution; scan; gated norm; projection back.

    The norm runs over each of `norm_groups` shares of the inner width, by default the share of each group of heads.
    Factors of x, B and C are the taps', which are few.

    Args:
        config: heads, groups, state width, taps, chunk, biases, multipliers and the norm's shares.
        d_model: width D.
        norm_epsilon: of the gated norm.
    """

    def __init__(self, config: Mamba2, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config = config
        inner, conv, heads = config.d_inner(d_model), config.conv_dim(d_model), config.num_heads(d_model)
        self.widths, zeros = (inner, conv, heads), ParameterSpec(constant(0.0))
        self.norm_groups = config.n_groups if config.norm_groups is None else config.norm_groups
        self.gate_multiplier, self.dt_multiplier = config.multipliers[0], config.multipliers[4]
        self.in_proj = self.declare("in_proj", (sum(self.widths), d_model), matrix(d_model))
        self.in_bias = self.declare("in_bias", (sum(self.widths),), zeros) if config.bias else None
        bound = 1 / math.sqrt(config.d_conv)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.d_conv)
        self.conv = self.declare("conv", (conv, config.d_conv), taps)
        self.conv_bias = self.declare("conv_bias", (conv,), zeros) if config.conv_bias else None
        self.dt_bias = self.declare("dt_bias", (heads,), ParameterSpec(draw_dt_bias))
        self.a_log = self.declare("a_log", (heads,), ParameterSpec(draw_a_log))
        self.skip = self.declare("skip", (heads,), ParameterSpec(constant(1.0)))
        self.norm = None if config.norm == "none" else RMSNorm(inner, norm_epsilon)
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))
        self.out_bias = self.declare("out_bias", (d_model,), zeros) if config.bias else None

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        gate_BTI, xbc_BTC, raw_dt_BTH = self._project(x_BTD)
        return self._finish(self._scan(xbc_BTC, raw_dt_BTH, with_state=False)[0], gate_BTI)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        gate_BTI, xbc_BTC, raw_dt_BTH = self._project(x_BTD)
        convolved_BTC = conv_silu_documents(xbc_BTC, self._taps(), self.conv_bias, documents)
        x_BTHP, b_BTGN, c_BTGN = self._split(convolved_BTC)
        a_H, dt_BTH = -torch.exp(at_least_fp32(self.a_log)), self._step_sizes(raw_dt_BTH)
        scanned = ssd_documents(x_BTHP, dt_BTH, a_H, b_BTGN, c_BTGN, self.skip, self.config.chunk_size, documents)
        return self._finish(scanned, gate_BTI)

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        gate_BTI, xbc_BTC, raw_dt_BTH = self._project(x_BTD)
        y_BTHP, last_BHPN = self._scan(xbc_BTC, raw_dt_BTH, with_state=True)
        assert last_BHPN is not None, "a state was asked for"
        state["conv"].copy_(last_inputs(xbc_BTC, self.config.d_conv))
        state["ssm"].copy_(last_BHPN)
        return self._finish(y_BTHP, gate_BTI)

    def _project(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gate [.., I], convolution's input [.., C], step sizes before bias and softplus [.., H]."""
        gate, xbc, raw_dt = linear(x, self.in_proj, self.in_bias).split(self.widths, -1)
        return gate, xbc, scaled(raw_dt, self.dt_multiplier)

    def _taps(self) -> Tensor:
        """The convolution's taps [C, K], which take the factors of x, B and C: each channel has its own."""
        factors = self.config.multipliers[1:4]
        if factors == NO_MULTIPLIERS[1:4]:
            return self.conv
        maps = self.config.n_groups * self.config.d_state
        parts = self.conv.split((self.widths[0], maps, maps))
        return torch.cat([scaled(part, factor) for part, factor in zip(parts, factors, strict=True)])

    def _split(self, xbc: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x [.., H, P], B and C [.., G, N]."""
        config = self.config
        groups = (config.n_groups, config.d_state)
        x, b, c = xbc.split((self.widths[0], math.prod(groups), math.prod(groups)), -1)
        return x.unflatten(-1, (-1, config.head_dim)), b.unflatten(-1, groups), c.unflatten(-1, groups)

    def _step_sizes(self, raw_dt: Tensor) -> Tensor:
        """[.., H], positive, in fp32."""
        dt = softplus(at_least_fp32(raw_dt) + self.dt_bias)
        low, high = self.config.dt_limit
        return dt if low == 0 and high is None else dt.clamp(low, high)

    def _scan(self, xbc_BTC: Tensor, raw_dt_BTH: Tensor, with_state: bool) -> tuple[Tensor, Tensor | None]:
        """y [B, T, H, P], and where asked the last state, [B, H, P, N] in fp32."""
        x_BTHP, b_BTGN, c_BTGN = self._split(conv_silu(xbc_BTC, self._taps(), self.conv_bias))
        a_H, config = -torch.exp(self.a_log.float()), self.config
        kernel = ssd_kernel(xbc_BTC.device.type)
        if kernel is None:
            return ssd(x_BTHP, self._step_sizes(raw_dt_BTH), a_H, b_BTGN, c_BTGN, self.skip, config.chunk_size)
        inputs = (x_BTHP, raw_dt_BTH, a_H, b_BTGN, c_BTGN, self.skip, self.dt_bias)
        return run_ssd_kernel(kernel, *inputs, config.dt_limit, config.chunk_size, with_state)

    def _finish(self, y: Tensor, gate: Tensor) -> Tensor:
        return linear(self._gated(y.flatten(-2), gate), self.out, self.out_bias)

    def _gated(self, y: Tensor, gate: Tensor) -> Tensor:
        """What the projection out reads, [.., I]."""
        multiplier = self.gate_multiplier
        if self.norm is None:
            return silu_gate(y, gate, multiplier)
        if self.config.norm == "gate_first":
            return gated_norm(y, scaled(gate, multiplier), self.norm.weight, self.norm.epsilon, self.norm_groups)
        kernel = group_norm_kernel(y.device.type, y.shape[-1] // self.norm_groups)
        if kernel is not None:
            norm = self.norm.weight, self.norm.epsilon, self.norm_groups
            return run_group_norm(kernel, y, scaled(gate, multiplier), *norm, gate_first=False)
        shape = (self.norm_groups, y.shape[-1] // self.norm_groups)
        normed = rms_norm(y.unflatten(-1, shape), self.norm.weight.new_ones(shape[1]), self.norm.epsilon)
        return silu_gate(normed.flatten(-2) * self.norm.weight, gate, multiplier)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        _, conv, heads = self.widths
        ssm = (batch_size, heads, self.config.head_dim, self.config.d_state)
        return {
            "conv": torch.zeros((batch_size, self.config.d_conv, conv), device=device, dtype=dtype),
            "ssm": torch.zeros(ssm, device=device, dtype=torch.promote_types(dtype, torch.float32)),
        }

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        gate_BI, xbc_BC, raw_dt_BH = self._project(x_BD)
        xbc_BC = conv_silu_step(xbc_BC, state["conv"], self._taps(), self.conv_bias)
        return self._finish(self._scan_step(xbc_BC, raw_dt_BH, state["ssm"]), gate_BI)

    @without_autocast
    def _scan_step(self, xbc_BC: Tensor, raw_dt_BH: Tensor, state_BHPN: Tensor) -> Tensor:
        """y [B, H, P] of one token in fp32, or fp64; moves the state on."""
        x_BHP, b_BGN, c_BGN = self._split(at_least_fp32(xbc_BC))
        a_H = -torch.exp(at_least_fp32(self.a_log))
        return ssd_step(x_BHP, self._step_sizes(raw_dt_BH), a_H, b_BGN, c_BGN, self.skip, state_BHPN)

    @override
    def kernel_path(self) -> str:
        return "torch chunked scan" if ssd_kernel(self.device.type) is None else "mamba-ssm"
