"""Gated DeltaNet (Yang, Kautz and Hatamizadeh 2024, arXiv:2412.06464, section 3.4 and figure 1).

B batch, T tokens, D model width, G key heads, E = 2 G, H value heads, K key width, V value width, C conv channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import softplus
from typing_extensions import override

from harmony_core.architecture import GatedDeltaNet
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import delta_kernel, delta_path
from harmony_core.models.mamba2 import draw_a_log, draw_dt_bias
from harmony_core.models.norm import RMSNorm
from harmony_core.models.ops.convolution.convolution import conv_silu, conv_silu_step, last_inputs
from harmony_core.models.ops.documents import conv_silu_documents
from harmony_core.models.ops.linear.delta_kernels import run_delta_kernel
from harmony_core.models.ops.linear.gated_delta import gated_delta, gated_delta_step
from harmony_core.models.ops.linear.l2_norm import l2_norm
from harmony_core.models.ops.linear.norm_then_gate import norm_then_gate
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import at_least_fp32, compute_dtype, without_autocast
from harmony_core.models.parameter import ParameterSpec, matrix, uniform
from harmony_core.models.registry import implements
from harmony_core.tiling import delta_chunk

Projected = tuple[Tensor, Tensor, Tensor, Tensor]


@implements("gated_deltanet")
class GatedDeltaNetModule(BlockModule):
    """One projection to queries, keys, values, gates, strengths and decays; convolutions; the rule; norm, gate, back.

    Args:
        config: heads, widths, taps, range of the corrections, the norm's epsilon.
        d_model: width D.
        norm_epsilon: of the output norm where the configuration has none.
    """

    def __init__(self, config: GatedDeltaNet, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config = config
        conv, values, heads = config.conv_width, config.value_width, config.num_value_heads
        self.widths = (conv, values, heads, heads)
        self.chunk = delta_chunk(config.chunk_size, config.key_head_dim)
        self.in_proj = self.declare("in_proj", (sum(self.widths), d_model), matrix(d_model))
        bound = 1 / math.sqrt(config.d_conv)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.d_conv)
        self.conv = self.declare("conv", (conv, config.d_conv), taps)
        self.dt_bias = self.declare("dt_bias", (heads,), ParameterSpec(draw_dt_bias))
        self.a_log = self.declare("a_log", (heads,), ParameterSpec(draw_a_log))
        epsilon = norm_epsilon if config.out_norm_epsilon is None else config.out_norm_epsilon
        self.norm = RMSNorm(config.value_head_dim, epsilon)
        self.out = self.declare("out", (d_model, values), matrix(values, residual=True))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        qkv_BTC, gate, strength, step = self._project(x_BTD)
        return self._finish(self._rule(conv_silu(qkv_BTC, self.conv, None), strength, step)[0], gate)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        qkv_BTC, gate, strength, step = self._project(x_BTD)
        convolved_BTC = conv_silu_documents(qkv_BTC, self.conv, None, documents)
        return self._finish(self._rule(convolved_BTC, strength, step, documents.number_BT)[0], gate)

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        qkv_BTC, gate, strength, step = self._project(x_BTD)
        y_BTHV, last_BHVK = self._rule(conv_silu(qkv_BTC, self.conv, None), strength, step, with_state=True)
        assert last_BHVK is not None, "a state was asked for"
        state["conv"].copy_(last_inputs(qkv_BTC, self.config.d_conv))
        state["state"].copy_(last_BHVK)
        return self._finish(y_BTHV, gate)

    def _project(self, x: Tensor) -> Projected:
        """The convolutions' input [.., C], gates [.., H V], strengths and step sizes before their functions [.., H]."""
        qkv, gate, strength, step = linear(x, self.in_proj).split(self.widths, -1)
        return qkv, gate, strength, step

    def _rule(
        self,
        qkv_BTC: Tensor,
        strength_BTH: Tensor,
        step_BTH: Tensor,
        number_BT: Tensor | None = None,
        with_state: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Outputs [B, T, H, V], and the last state, [B, H, V, K]; a kernel gives it where asked."""
        qk_BTEK, v_BTHV = self._split(qkv_BTC)
        log_BTH, beta_BTH = self._decays(step_BTH), self._strengths(strength_BTH)
        kernel = None
        if number_BT is None:
            width = self.config.key_head_dim
            kernel = delta_kernel("gated-delta-rule", qkv_BTC.device.type, compute_dtype(qkv_BTC), width)
        if kernel is not None:
            inputs = (l2_norm(qk_BTEK), v_BTHV, log_BTH, beta_BTH)
            return run_delta_kernel(kernel, *inputs, compute_dtype(qkv_BTC), with_state)
        return gated_delta(l2_norm(qk_BTEK), v_BTHV, log_BTH, beta_BTH, self.chunk, number_BT)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor]:
        """Queries above keys [.., E, K], values [.., H, V]."""
        config = self.config
        qk, v = qkv.split((2 * config.key_width, config.value_width), -1)
        return qk.unflatten(-1, (-1, config.key_head_dim)), v.unflatten(-1, (-1, config.value_head_dim))

    def _strengths(self, raw: Tensor) -> Tensor:
        """[.., H], in (0, 1), or in (0, 2) for negative eigenvalues; fp32."""
        beta = at_least_fp32(raw).sigmoid()
        return beta * 2 if self.config.negative_eigenvalues else beta

    def _decays(self, raw: Tensor) -> Tensor:
        """Logarithms [.., H], negative, in fp32."""
        return -torch.exp(at_least_fp32(self.a_log)) * softplus(at_least_fp32(raw) + self.dt_bias)

    def _finish(self, y: Tensor, gate: Tensor) -> Tensor:
        gated = norm_then_gate(y, gate.view(y.shape), self.norm.weight, self.norm.epsilon, "silu")
        return linear(gated.flatten(-2), self.out)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        config = self.config
        states = (batch_size, config.num_value_heads, config.value_head_dim, config.key_head_dim)
        return {
            "conv": torch.zeros((batch_size, config.d_conv, config.conv_width), device=device, dtype=dtype),
            "state": torch.zeros(states, device=device),
        }

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        qkv_BC, gate, strength, step = self._project(x_BD)
        qkv_BC = conv_silu_step(qkv_BC, state["conv"], self.conv, None)
        return self._finish(self._rule_step(qkv_BC, strength, step, state["state"]), gate)

    @without_autocast
    def _rule_step(self, qkv_BC: Tensor, strength_BH: Tensor, step_BH: Tensor, state_BHVK: Tensor) -> Tensor:
        """y [B, H, V] of one token in fp32; moves the state on."""
        qk_BEK, v_BHV = self._split(qkv_BC.float())
        log_BH, beta_BH = self._decays(step_BH), self._strengths(strength_BH)
        return gated_delta_step(l2_norm(qk_BEK), v_BHV, log_BH, beta_BH, state_BHVK)

    @override
    def kernel_path(self) -> str:
        return delta_path("gated-delta-rule", self.device.type, self.config.key_head_dim)
