"""Hyena-LI: implicit filters as long as the sequence (Ku et al. 2025, arXiv:2503.01868, section 2).

B batch, T tokens, D model width, N states of a channel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture import HyenaLI
from harmony_core.models.block import BlockState
from harmony_core.models.context_parallel.channels import ChannelShare
from harmony_core.models.hyena import HyenaModule
from harmony_core.models.kernels import modal_path
from harmony_core.models.ops.convolution.fft import FFTConvolution
from harmony_core.models.ops.convolution.gated import Convolution
from harmony_core.models.ops.convolution.modal import (
    ModalConvolution,
    modal_filter,
    modal_filters,
    modal_state,
    modal_step,
)
from harmony_core.models.parameter import ParameterSpec, normal, uniform
from harmony_core.models.registry import implements


def _draw_a_log(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """Poles p = -exp(-1) gamma with gamma uniform in [0.01, 0.1], as the authors' training code begins."""
    return uniform(0.01, 0.1)(shape, generator).log() - 1


@implements("hyena_li")
class HyenaLIModule(HyenaModule):
    """h_t = sum over n of residues[:, n] exp(-exp(a_log[:, n]) t), one filter a channel; direct term `skip`."""

    def __init__(self, config: HyenaLI, d_model: int, norm_epsilon: float) -> None:
        super().__init__(config, d_model, norm_epsilon)
        self.chunk_size = config.chunk_size
        shape = (d_model, config.state_size)
        self.a_log = self.declare("a_log", shape, ParameterSpec(_draw_a_log))
        self.residues = self.declare("residues", shape, ParameterSpec(normal(0.1 / math.sqrt(config.state_size))))
        self.skip = self.declare_skip(d_model)

    @override
    def convolution(self, length: int, share: ChannelShare) -> tuple[Convolution, tuple[Tensor, ...]]:
        a_log_DN, residues_DN = share.of(self.a_log), share.of(self.residues)
        if modal_path(self.device.type) == "FFT":
            return FFTConvolution(), (modal_filter(a_log_DN, residues_DN, length),)
        return ModalConvolution(self.chunk_size), modal_filters(a_log_DN, residues_DN, self.chunk_size)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        modal = torch.zeros((batch_size, *self.a_log.shape), device=device)
        return {**super().init_state(batch_size, max_context, device, dtype), "modal": modal}

    @override
    def remember(self, u_BTD: Tensor, state: BlockState) -> None:
        state["modal"].copy_(modal_state(u_BTD, self.a_log, self.chunk_size))

    @override
    def convolve_step(self, u_BD: Tensor, state: BlockState, position: int) -> Tensor:
        return modal_step(u_BD, state["modal"], self.a_log, self.residues)

    @override
    def kernel_path(self) -> str:
        return f"torch {modal_path(self.device.type)} convolution"
