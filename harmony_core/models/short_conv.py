"""The gated short convolution of LFM2 (Liquid AI 2025; arXiv:2511.23404, section 2).

B batch, T tokens, D model width, E the 3D projected channels B, C, x, K taps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import ShortConv
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.context_parallel.channels import ChannelShare
from harmony_core.models.context_parallel.exchange import to_channels, to_tokens
from harmony_core.models.context_parallel.group import ContextParallel, refuse_decoding
from harmony_core.models.context_parallel.halo import convolve_with_halo
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import conv_kernel
from harmony_core.models.ops.convolution.convolution import last_inputs
from harmony_core.models.ops.convolution.direct import DirectConvolution
from harmony_core.models.ops.convolution.kernels import conv_path
from harmony_core.models.ops.convolution.short import gated_short_conv, gated_short_conv_step
from harmony_core.models.ops.documents import convolve_documents
from harmony_core.models.ops.matmul import linear
from harmony_core.models.parameter import ParameterSpec, constant, matrix, uniform
from harmony_core.models.registry import implements


@implements("short_conv")
class ShortConvModule(BlockModule):
    """Projection to B, C and x, y = C * (conv(B * x) + bias), projection back; the token's own tap is last.

    Args:
        config: taps and whether there are biases.
        d_model: width D.
        norm_epsilon: not used; there is no norm.
    """

    def __init__(self, config: ShortConv, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.config, self.d_model = config, d_model
        self.in_proj = self.declare("in_proj", (3 * d_model, d_model), matrix(d_model))
        bound = 1 / math.sqrt(config.kernel_size)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=config.kernel_size)
        self.conv = self.declare("conv", (d_model, config.kernel_size), taps)
        self.out = self.declare("out", (d_model, d_model), matrix(d_model, residual=True))
        self.in_bias, self.conv_bias, self.out_bias = (
            self.declare(name, (width,), ParameterSpec(constant(0.0))) if config.bias else None
            for name, width in (("in_bias", 3 * d_model), ("conv_bias", d_model), ("out_bias", d_model))
        )

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        z_BTE, cp = linear(x_BTD, self.in_proj, self.in_bias), self.context_parallel
        if cp is None:
            return self._finish(gated_short_conv(z_BTE, self.conv, self.conv_bias))
        return self._finish(self._mix_over_ranks(z_BTE, cp))

    def _finish(self, y: Tensor) -> Tensor:
        return linear(y, self.out, self.out_bias)

    def _mix_over_ranks(self, z_BTE: Tensor, cp: ContextParallel) -> Tensor:
        """All tokens of some channels and back, or the last taps' inputs from the rank before."""
        if cp.method == "all_to_all":
            share = cp.channel_share(self.d_model)
            return to_tokens(self._mix_share(to_channels(z_BTE, 3, cp), share), cp)
        b_BTD, c_BTD, x_BTD = z_BTE.chunk(3, -1)
        h_DK = self.conv.flip(1)
        mixed_BTD = convolve_with_halo(b_BTD * x_BTD, DirectConvolution(), h_DK, cp, "kernel_size")
        return c_BTD * (mixed_BTD if self.conv_bias is None else mixed_BTD + self.conv_bias)

    def _mix_share(self, z_BTE: Tensor, share: ChannelShare) -> Tensor:
        bias_D = None if self.conv_bias is None else share.of(self.conv_bias)
        return gated_short_conv(z_BTE, share.of(self.conv), bias_D)

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        z_BTE = linear(x_BTD, self.in_proj, self.in_bias)
        b_BTD, c_BTD, x_BTD = z_BTE.chunk(3, -1)
        mixed_BTD = convolve_documents(b_BTD * x_BTD, self.conv, documents)
        mixed_BTD = mixed_BTD if self.conv_bias is None else mixed_BTD + self.conv_bias
        return self._finish((c_BTD * mixed_BTD).to(z_BTE.dtype))

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        inputs = (batch_size, self.config.kernel_size, self.d_model)
        return {"conv": torch.zeros(inputs, device=device, dtype=dtype)}

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        refuse_decoding(self.context_parallel)
        z_BTE = linear(x_BTD, self.in_proj, self.in_bias)
        b_BKD, _, x_BKD = last_inputs(z_BTE, self.config.kernel_size).float().chunk(3, -1)
        state["conv"].copy_(b_BKD * x_BKD)
        return self._finish(gated_short_conv(z_BTE, self.conv, self.conv_bias))

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        refuse_decoding(self.context_parallel)
        z_BE = linear(x_BD, self.in_proj, self.in_bias)
        return self._finish(gated_short_conv_step(z_BE, state["conv"], self.conv, self.conv_bias))

    @override
    def kernel_path(self) -> str:
        return conv_path(conv_kernel(self.device.type, self.config.kernel_size))
