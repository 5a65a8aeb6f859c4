"""Kimi Delta Attention (Kimi Linear, arXiv:2510.26692, sections 3 and 4).

B batch, T tokens, D model width, H heads, E = 2 H, K head width, I = H K, C = 3 I conv channels, L gates' rank.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from harmony_core.architecture import KDA
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import delta_kernel, delta_path
from harmony_core.models.mamba2 import draw_a_log, draw_dt_bias
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.convolution.convolution import conv_silu, conv_silu_step, last_inputs
from harmony_core.models.ops.documents import conv_silu_documents
from harmony_core.models.ops.linear.delta_kernels import run_delta_kernel
from harmony_core.models.ops.linear.kda import kda, kda_step
from harmony_core.models.ops.linear.l2_norm import l2_norm
from harmony_core.models.ops.linear.norm_then_gate import norm_then_gate
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast
from harmony_core.models.parameter import ParameterSpec, matrix, uniform
from harmony_core.models.registry import implements
from harmony_core.tiling import delta_chunk

Projected = tuple[Tensor, Tensor, Tensor, Tensor]


@implements("kda")
class KDAModule(BlockModule):
    """One projection to queries, keys, values, strengths and two narrow ones, which go up to decays and gates.

    Args:
        config: heads, width, rank, taps, range of the corrections.
        d_model: width D.
        norm_epsilon: of the output norm.
    """

    def __init__(self, config: KDA, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config = config
        inner, rank, heads = config.width, config.rank, config.num_heads
        self.widths, conv = (3 * inner, rank, rank, heads), 3 * inner
        self.chunk = delta_chunk(config.chunk_size, config.head_dim)
        self.in_proj = self.declare("in_proj", (sum(self.widths), d_model), matrix(d_model))
        bound = 1 / math.sqrt(config.d_conv)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.d_conv)
        self.conv = self.declare("conv", (conv, config.d_conv), taps)
        self.decay_up = self.declare("decay_up", (inner, rank), matrix(rank))
        self.dt_bias = self.declare("dt_bias", (inner,), ParameterSpec(draw_dt_bias))
        self.a_log = self.declare("a_log", (heads,), ParameterSpec(draw_a_log))
        self.gate_up = self.declare("gate_up", (inner, rank), matrix(rank))
        self.norm = RMSNorm(config.head_dim, norm_epsilon)
        self.out = self.declare("out", (d_model, inner), matrix(inner, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv_BTC, step, gate, strength = self._project(x_BTD)
        return self._finish(self._rule(conv_silu(qkv_BTC, self.conv, None), strength, step)[0], gate)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        qkv_BTC, step, gate, strength = self._project(x_BTD)
        convolved_BTC = conv_silu_documents(qkv_BTC, self.conv, None, documents)
        return self._finish(self._rule(convolved_BTC, strength, step, documents.number_BT)[0], gate)

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        qkv_BTC, step, gate, strength = self._project(x_BTD)
        y_BTHK, last_BHKK = self._rule(conv_silu(qkv_BTC, self.conv, None), strength, step, with_state=True)
        assert last_BHKK is not None, "a state was asked for"
        state["conv"].copy_(last_inputs(qkv_BTC, self.config.d_conv))
        state["state"].copy_(last_BHKK)
        return self._finish(y_BTHK, gate)

    def _project(self, x: Tensor) -> Projected:
        """The convolutions' input [.., C], the narrow projections [.., L], strengths before the sigmoid [.., H]."""
        qkv, step, gate, strength = linear(x, self.in_proj).split(self.widths, -1)
        # oneDNN's products with a narrow share of wide rows take a hundred times as long.
        return qkv, step.contiguous(), gate.contiguous(), strength

    def _rule(
        self,
        qkv_BTC: Tensor,
        strength_BTH: Tensor,
        step_BTL: Tensor,
        number_BT: Tensor | None = None,
        with_state: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs [B, T, H, K], and the last state, [B, H, K, K]; a kernel gives it where asked."""
        qk_BTEK, v_BTHK = self._split(qkv_BTC)
        log_BTHK, beta_BTH = self._decays(step_BTL), self._strengths(strength_BTH)
        kernel = None
        if number_BT is None:
            width = self.config.head_dim
            kernel = delta_kernel("kda", qkv_BTC.device.type, compute_dtype(qkv_BTC), width)
        if kernel is not None:
            inputs = (l2_norm(qk_BTEK), v_BTHK, log_BTHK, beta_BTH)
            return run_delta_kernel(kernel, *inputs, compute_dtype(qkv_BTC), with_state)
        return kda(l2_norm(qk_BTEK), v_BTHK, log_BTHK, beta_BTH, self.chunk, number_BT)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Queries above keys [.., E, K], values [.., H, K]."""
        heads = self.config.num_heads
        qk, v = qkv.unflatten(-1, (3 * heads, -1)).split((2 * heads, heads), -2)
        return qk, v

    def _strengths(self, raw: Tensor) -> Tensor:
        """[.., H], in (0, 1), or in (0, 2) for negative eigenvalues; fp32."""
        beta = at_least_fp32(raw).sigmoid()
        return beta * 2 if self.config.negative_eigenvalues else beta

    def _decays(self, narrow: Tensor) -> Tensor:
        """Logarithms [.., H, K], negative, in fp32."""
        step = softplus(at_least_fp32(linear(narrow, self.decay_up)) + self.dt_bias)
        rate_H1 = torch.exp(at_least_fp32(self.a_log)).unsqueeze(-1)
        log: Tensor = step.unflatten(-1, (self.config.num_heads, -1)) * -rate_H1
        return log

    def _finish(self, y: Tensor, narrow: Tensor) -> Tensor:
        gate = linear(narrow, self.gate_up).view(y.shape)
        gated = norm_then_gate(y, gate, self.norm.weight, self.norm.epsilon, "sigmoid")
        return linear(gated.flatten(-2), self.out)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        config = self.config
        states = (batch_size, config.num_heads, config.head_dim, config.head_dim)
        return {
            "conv": torch.zeros((batch_size, config.d_conv, 3 * config.width), device=device, dtype=dtype),
            "state": torch.zeros(states, device=device),
        }

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        qkv_BC, step, gate, strength = self._project(x_BD)
        qkv_BC = conv_silu_step(qkv_BC, state["conv"], self.conv, None)
        return self._finish(self._rule_step(qkv_BC, strength, self._decays(step), state["state"]), gate)

    @without_autocast
    def _rule_step(self, qkv_BC: Tensor, strength_BH: Tensor, log_BHK: Tensor, state_BHKK: Tensor) -> Tensor:
        """y [B, H, K] of one token in fp32; moves the state on."""
        qk_BEK, v_BHK = self._split(qkv_BC.float())
        return kda_step(l2_norm(qk_BEK), v_BHK, log_BHK, self._strengths(strength_BH), state_BHKK)

    @override
    def kernel_path(self) -> str:
        return delta_path("kda", self.device.type, self.config.head_dim)
