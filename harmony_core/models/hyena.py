"""What the Hyena operators share (Ku et al. 2025, arXiv:2503.01868, section 2), and those with a weight for each lag.

B batch, T tokens, D model width, E the 3D projected channels x2, x1, v, G filter groups, K taps, S short taps.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from typing_extensions import override

from harmony_core.architecture.hyena import GroupedFIR, Hyena
from harmony_core.models.block import BlockModule, BlockState
from harmony_core.models.context_parallel.channels import EVERY_CHANNEL, ChannelShare
from harmony_core.models.context_parallel.exchange import to_channels, to_tokens
from harmony_core.models.context_parallel.group import ContextParallel, refuse_decoding
from harmony_core.models.context_parallel.halo import convolve_with_halo
from harmony_core.models.documents import Documents
from harmony_core.models.kernels import conv_kernel, filter_products, fir_path
from harmony_core.models.ops.convolution.blocked import BlockedConvolution
from harmony_core.models.ops.convolution.direct import DirectConvolution
from harmony_core.models.ops.convolution.fft import FFTConvolution
from harmony_core.models.ops.convolution.gated import Convolution, convolve, gated_convolution
from harmony_core.models.ops.convolution.kernels import run_conv_kernel
from harmony_core.models.ops.documents import convolve_documents
from harmony_core.models.ops.matmul import linear
from harmony_core.models.ops.precision import compute_dtype
from harmony_core.models.parameter import ParameterSpec, constant, matrix, uniform

_CONVOLUTIONS: dict[str, Convolution] = {
    "direct": DirectConvolution(),
    "blocked": BlockedConvolution(),
    "FFT": FFTConvolution(),
}


class HyenaModule(BlockModule):
    """Projection to x2, x1 and v, a short convolution of them, y = x2 * (h conv (x1 * v)), projection back.

    `conv` has the token's own tap last, as every `conv` here; the filters h have it first. A subclass says what h is.

    Args:
        config: lengths of its filters, and what its kind has beside.
        d_model: width D.
        norm_epsilon: not used, since it has no norm within.
    """

    def __init__(self, config: Hyena, d_model: int, norm_epsilon: float) -> None:
        super().__init__()
        self.d_model, self.short_taps = d_model, config.short_filter_length
        self.in_proj = self.declare("in_proj", (3 * d_model, d_model), matrix(d_model))
        bound = 1 / math.sqrt(self.short_taps)
        taps = ParameterSpec(uniform(-bound, bound), fan_in=self.short_taps)
        self.conv = self.declare("conv", (3 * d_model, self.short_taps), taps)
        self.out = self.declare("out", (d_model, d_model), matrix(d_model, residual=True))
        self.out_bias = self.declare("out_bias", (d_model,), ParameterSpec(constant(0.0)))
        # The factor of the direct term, for those that have one.
        self.skip: torch.nn.Parameter | None = None

    def convolution(self, length: int, share: ChannelShare) -> tuple[Convolution, tuple[Tensor, ...]]:
        """How `length` tokens are convolved with h, and what h is made of, for a share of the channels."""
        raise TypeError(f"{type(self).__name__} does not say how it convolves")

    def declare_skip(self, d_model: int) -> torch.nn.Parameter:
        """To be assigned to `skip`."""
        return self.declare("skip", (d_model,), ParameterSpec(constant(1.0)))

    @override
    def forward(self, x_BTD: Tensor) -> Tensor:
        z_BTE = linear(x_BTD, self.in_proj)
        cp = self.context_parallel
        y_BTD = self._mix(z_BTE) if cp is None else self._mix_over_ranks(z_BTE, cp)
        return linear(y_BTD, self.out, self.out_bias)

    def _mix(self, z_BTE: Tensor, share: ChannelShare = EVERY_CHANNEL) -> Tensor:
        """[B, T, 3D] to [B, T, D] for whole sequences, all channels or a share of them."""
        return self._gate(self._short(z_BTE, share), share)

    def _short(self, z_BTE: Tensor, share: ChannelShare) -> Tensor:
        """Each channel's few taps, in one kernel."""
        h_EK = self._short_filter(share)
        kernel = conv_kernel(z_BTE.device.type, self.short_taps)
        if kernel is None:
            return convolve(z_BTE, DirectConvolution(), h_EK)
        return run_conv_kernel(kernel, z_BTE, h_EK.flip(1), None, activation=None)

    def _gate(self, z_BTE: Tensor, share: ChannelShare = EVERY_CHANNEL) -> Tensor:
        convolution, filters = self.convolution(z_BTE.shape[1], share)
        skip_D = None if self.skip is None else share.of(self.skip)
        return gated_convolution(z_BTE, skip_D, convolution, *filters)

    def _short_filter(self, share: ChannelShare = EVERY_CHANNEL) -> Tensor:
        return share.of(self.conv.flip(1).view(3, -1, self.short_taps), 1).flatten(0, 1)

    def _mix_over_ranks(self, z_BTE: Tensor, cp: ContextParallel) -> Tensor:
        """All tokens of some channels instead of some tokens of all channels, and back."""
        share = cp.channel_share(self.d_model)
        return to_tokens(self._mix(to_channels(z_BTE, 3, cp), share), cp)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        return {"conv": torch.zeros((batch_size, *self.conv.shape), device=device, dtype=dtype)}

    def remember(self, u_BTD: Tensor, state: BlockState) -> None:
        """Leaves in an empty state what the convolution with h needs of x1 * v (fp32)."""
        raise TypeError(f"{type(self).__name__} has no prefill")

    def convolve_step(self, u_BD: Tensor, state: BlockState, position: int) -> Tensor:
        """One token of the convolution with h, fp32 in and out.

        Args:
            u_BD: the gated input x1 * v of the token.
            state: of the block, written in place.
            position: the token's, from 0.
        """
        raise TypeError(f"{type(self).__name__} has no recurrent form")

    @override
    def prefill(self, x_BTD: Tensor, state: BlockState) -> Tensor:
        refuse_decoding(self.context_parallel)
        z_BTE = linear(x_BTD, self.in_proj)
        kept = min(z_BTE.shape[1], self.short_taps)
        state["conv"][..., self.short_taps - kept :] = z_BTE[:, z_BTE.shape[1] - kept :].mT
        z_BTE = convolve(z_BTE, DirectConvolution(), self._short_filter())
        _, x1_BTD, v_BTD = z_BTE.float().chunk(3, -1)
        self.remember(x1_BTD * v_BTD, state)
        return linear(self._gate(z_BTE), self.out, self.out_bias)

    @override
    def step(self, x_BD: Tensor, state: BlockState, position: int) -> Tensor:
        refuse_decoding(self.context_parallel)
        z_BE, inputs_BES = linear(x_BD, self.in_proj), state["conv"]
        inputs_BES.copy_(torch.cat((inputs_BES[..., 1:], z_BE.to(inputs_BES.dtype).unsqueeze(-1)), -1))
        x2_BD, x1_BD, v_BD = (inputs_BES.float() * self.conv.float()).sum(-1).to(z_BE.dtype).float().chunk(3, -1)
        u_BD = x1_BD * v_BD
        mixed_BD = self.convolve_step(u_BD, state, position)
        if self.skip is not None:
            mixed_BD = mixed_BD + self.skip.float() * u_BD
        return linear((x2_BD * mixed_BD).to(z_BE.dtype), self.out, self.out_bias)


class GroupedFIRModule(HyenaModule):
    """A Hyena operator with a trained weight for each lag and group."""

    def __init__(self, config: GroupedFIR, d_model: int, norm_epsilon: float) -> None:
        super().__init__(config, d_model, norm_epsilon)
        self.num_groups, self.taps = config.num_groups, config.filter_length

    def taps_GK(self) -> Tensor:
        """h, [G, K], the token's own tap first."""
        raise TypeError(f"{type(self).__name__} does not say what its filter is")

    @override
    def forward_documents(self, x_BTD: Tensor, documents: Documents) -> Tensor:
        z_BTE = linear(x_BTD, self.in_proj)
        x2_BTD, x1_BTD, v_BTD = convolve_documents(z_BTE, self.conv, documents).chunk(3, -1)
        u_BTD, h_DK = x1_BTD * v_BTD, self.taps_GK().flip(1).repeat_interleave(self.d_model // self.num_groups, 0)
        mixed_BTD = convolve_documents(u_BTD, h_DK, documents)
        if self.skip is not None:
            mixed_BTD = mixed_BTD + self.skip * u_BTD
        return linear((x2_BTD * mixed_BTD).to(z_BTE.dtype), self.out, self.out_bias)

    @override
    def convolution(self, length: int, share: ChannelShare) -> tuple[Convolution, tuple[Tensor, ...]]:
        path = fir_path(self.device.type, self.taps)
        convolution = _CONVOLUTIONS[path]
        if path == "blocked":
            convolution = BlockedConvolution(products=filter_products(self.device.type, compute_dtype(self.conv)))
        return convolution, (share.of_groups(self.taps_GK(), self.d_model),)

    @override
    def _mix_over_ranks(self, z_BTE: Tensor, cp: ContextParallel) -> Tensor:
        if cp.method == "all_to_all":
            return super()._mix_over_ranks(z_BTE, cp)
        x2_BTD, x1_BTD, v_BTD = convolve_with_halo(z_BTE, DirectConvolution(), self._short_filter(), cp).chunk(3, -1)
        u_BTD = x1_BTD * v_BTD
        convolution, (h_GK,) = self.convolution(u_BTD.shape[1], EVERY_CHANNEL)
        y_BTD = convolve_with_halo(u_BTD, convolution, h_GK, cp)
        return x2_BTD * (y_BTD if self.skip is None else y_BTD + self.skip.to(u_BTD.dtype) * u_BTD)

    @override
    def init_state(self, batch_size: int, max_context: int, device: torch.device, dtype: torch.dtype) -> BlockState:
        inputs = torch.zeros((batch_size, self.d_model, self.taps), device=device, dtype=dtype)
        return {**super().init_state(batch_size, max_context, device, dtype), "inputs": inputs}

    @override
    def remember(self, u_BTD: Tensor, state: BlockState) -> None:
        # The cache holds the last K inputs; that of the token at t is in place t mod K.
        length = u_BTD.shape[1]
        tokens = torch.arange(max(0, length - self.taps), length, device=u_BTD.device)
        state["inputs"][..., tokens % self.taps] = u_BTD[:, tokens].mT.to(state["inputs"].dtype)

    @override
    def convolve_step(self, u_BD: Tensor, state: BlockState, position: int) -> Tensor:
        inputs_BDK = state["inputs"]
        inputs_BDK[..., position % self.taps] = u_BD.to(inputs_BDK.dtype)
        # Place s holds the input of lag (position - s) mod K.
        h_GK1 = self.taps_GK().float().flip(1).roll(position + 1, 1).unsqueeze(-1)
        with torch.autocast(u_BD.device.type, enabled=False):
            y_BGC1: Tensor = inputs_BDK.float().unflatten(1, (self.num_groups, -1)) @ h_GK1
        return y_BGC1.flatten(1)

    @override
    def kernel_path(self) -> str:
        path = fir_path(self.device.type, self.taps)
        return f"{'oneDNN' if path == 'direct' else 'torch'} {path} convolution"
