"""Mamba-1, for the Jamba and Samba baselines (Gu and Dao 2023, arXiv:2312.00752, section 3).

B batch, T tokens, D model width, I inner width, N state width, K taps.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import silu, softplus
from typing_extensions import override

from harmony_core.architecture import Mamba
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import selective_scan_kernel
from harmony_core.models.mamba2 import draw_dt_bias
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.convolution.convolution import conv_silu, conv_silu_step, last_inputs
from harmony_core.models.ops.documents import conv_silu_documents
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import at_least_fp32, without_autocast
from harmony_core.models.ops.ssm.mamba_kernels import run_selective_scan_kernel
from harmony_core.models.ops.ssm.selective_scan import scan_step, selective_scan
from harmony_core.models.parameter import ParameterSpec, constant, matrix, uniform
from harmony_core.models.registry import implements


def _draw_a_log(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """S4D-real: -A counts 1 .. N in every channel (arXiv:2206.11893)."""
    return torch.arange(1, shape[1] + 1, dtype=torch.float32).log().expand(*shape)


@implements("mamba")
class MambaModule(BlockModule):
    """Gate and x from one projection; convolution; a scan whose step size, B and C follow x; projection back.

    Args:
        config: inner width, state width, rank of the step size, taps, biases and inner norms.
        d_model: width D.
        norm_epsilon: of the norms of step size, B and C, where they are asked for.
    """

    def __init__(self, config: Mamba, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        inner, rank, state = config.d_inner(d_model), config.rank(d_model), config.d_state
        self.widths, zeros = (rank, state, state), ParameterSpec(constant(0.0))
        self.in_proj = self.declare("in_proj", (2 * inner, d_model), matrix(d_model))
        self.in_bias = self.declare("in_bias", (2 * inner,), zeros) if config.bias else None
        bound = 1 / math.sqrt(config.d_conv)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.d_conv)
        self.conv = self.declare("conv", (inner, config.d_conv), taps)
        self.conv_bias = self.declare("conv_bias", (inner,), zeros) if config.conv_bias else None
        self.x_proj = self.declare("x_proj", (sum(self.widths), inner), matrix(inner))
        # Step sizes are neither decayed nor scaled with the width, so this small matrix counts as a vector.
        self.dt_proj = self.declare("dt_proj", (inner, rank), ParameterSpec(matrix(rank).draw, fan_in=rank))
        self.dt_bias = self.declare("dt_bias", (inner,), ParameterSpec(draw_dt_bias))
        self.a_log = self.declare("a_log", (inner, state), ParameterSpec(_draw_a_log))
        self.skip = self.declare("skip", (inner,), ParameterSpec(constant(1.0)))
        self.norms = torch.nn.ModuleList(RMSNorm(w, norm_epsilon) for w in self.widths) if config.inner_norms else None
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))
        self.out_bias = self.declare("out_bias", (d_model,), zeros) if config.bias else None

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        x_BTI, gate_BTI = self._project(x_BTD)
        return self._finish(self._scan(x_BTI, with_state=False)[0], gate_BTI)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        x_BTI, gate_BTI = self._project(x_BTD)
        x_BTI = conv_silu_documents(x_BTI, self.conv, self.conv_bias, documents)
        raw_dt_BTI, b_BTN, c_BTN = self._select(x_BTI)
        a_IN, dt_BTI = -torch.exp(at_least_fp32(self.a_log)), self._step_sizes(raw_dt_BTI)
        y_BTI, _ = selective_scan(x_BTI, dt_BTI, a_IN, b_BTN, c_BTN, self.skip, documents.same(1))
        return self._finish(y_BTI, gate_BTI)

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        x_BTI, gate_BTI = self._project(x_BTD)
        y_BTI, last_BIN = self._scan(x_BTI, with_state=True)
        assert last_BIN is not None, "a state was asked for"
        state["conv"].copy_(last_inputs(x_BTI, self.conv.shape[1]))
        state["ssm"].copy_(last_BIN)
        return self._finish(y_BTI, gate_BTI)

    def _project(self, x: Tensor) -> tuple[Tensor, ...]:
        """The convolution's input and the gate, [.., I] each."""
        return linear(x, self.in_proj, self.in_bias).chunk(2, -1)

    def _select(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Step sizes before bias and softplus [.., I], B and C [.., N]."""
        dt, b, c = linear(x, self.x_proj).split(self.widths, -1)
        if self.norms is not None:
            dt, b, c = (norm(t) for norm, t in zip(self.norms, (dt, b, c), strict=True))
        # oneDNN multiplies a slice's gradient a thousand times more slowly than a packed matrix.
        return linear(dt.contiguous(), self.dt_proj), b, c

    def _scan(self, x_BTI: Tensor, with_state: bool) -> tuple[Tensor, Tensor | None]:
        """y [B, T, I], and where asked the last state, [B, I, N] in fp32."""
        x_BTI = conv_silu(x_BTI, self.conv, self.conv_bias)
        raw_dt_BTI, b_BTN, c_BTN = self._select(x_BTI)
        a_IN = -torch.exp(self.a_log.float())
        kernel = selective_scan_kernel(x_BTI.device.type, a_IN.shape[1])
        if kernel is None:
            return selective_scan(x_BTI, self._step_sizes(raw_dt_BTI), a_IN, b_BTN, c_BTN, self.skip)
        inputs = (x_BTI, raw_dt_BTI, a_IN, b_BTN, c_BTN, self.skip, self.dt_bias)
        return run_selective_scan_kernel(kernel, *inputs, with_state)

    def _step_sizes(self, raw_dt: Tensor) -> Tensor:
        """[.., I], positive, in fp32."""
        return softplus(at_least_fp32(raw_dt) + self.dt_bias)

    def _finish(self, y: Tensor, gate: Tensor) -> Tensor:
        return linear(y * silu(gate), self.out, self.out_bias)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        return {
            "conv": torch.zeros((batch_size, *self.conv.T.shape), device=device, dtype=dtype),
            "ssm": torch.zeros((batch_size, *self.a_log.shape), device=device),
        }

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        x_BI, gate_BI = self._project(x_BD)
        x_BI = conv_silu_step(x_BI, state["conv"], self.conv, self.conv_bias)
        return self._finish(self._scan_step(x_BI, *self._select(x_BI), state["ssm"]), gate_BI)

    @without_autocast
    def _scan_step(self, x_BI: Tensor, raw_dt_BI: Tensor, b_BN: Tensor, c_BN: Tensor, state_BIN: Tensor) -> Tensor:
        """y [B, I] of one token in fp32; moves the state on."""
        x_BI, b_BN, c_BN, a_log_IN = (t.float() for t in (x_BI, b_BN, c_BN, self.a_log))
        return scan_step(x_BI, self._step_sizes(raw_dt_BI), a_log_IN, b_BN, c_BN, self.skip, state_BIN)

    @override
    def kernel_path(self) -> str:
        kernel = selective_scan_kernel(self.device.type, self.a_log.shape[1])
        return "torch chunked recurrence" if kernel is None else "mamba-ssm"
