"""Causal convolution in the frequency domain: for filters as long as the sequence (Poli et al. 2023, arXiv:2302.10866).

B batch, T tokens, D = G x C channels, G filter groups, K taps (tap 0 is the token itself), F frequencies,
R = C x B sequences of a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harmony_core.models.ops.convolution.layout import channels_first, channels_last


def fast_length(least: int) -> int:
    """The smallest even number of at least `least` whose prime factors are 2, 3 and 5: lengths that FFTs like."""
    best = 1 << max(1, (least - 1).bit_length())
    fives = 1
    while fives < best:
        odd = fives
        while odd < best:
            twos = max(1, (-(-least // odd) - 1).bit_length())
            best = min(best, odd << twos)
            odd *= 3
        fives *= 5
    return best


@dataclass(frozen=True)
class FFTConvolution:
    """Products of real FFTs, padded so that nothing wraps around; filters: h [G, K]."""

    def forward(self, u_BTD: Tensor, *filters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """h conv u; keeps the spectrum of h."""
        (h_GK,) = filters
        length = u_BTD.shape[1]
        size = fast_length(length + min(h_GK.shape[1], length) - 1)
        spectrum_GF = torch.fft.rfft(h_GK[:, :length], n=size)
        product_GRF = _spectrum(u_BTD, h_GK.shape[0], size).mul_(spectrum_GF.unsqueeze(1))
        return _tokens(product_GRF, size, u_BTD), (spectrum_GF,)

    def backward(self, dy_BTD: Tensor, u_BTD: Tensor, kept: tuple[Tensor, ...], *filters: Tensor) -> tuple[Tensor, ...]:
        """Correlations: the conjugate of one spectrum times the other one. Arguments as for `Convolution.backward`."""
        (h_GK,), (spectrum_GF,) = filters, kept
        length, taps = u_BTD.shape[1], h_GK.shape[1]
        size = fast_length(length + min(taps, length) - 1)
        dy_GRF = _spectrum(dy_BTD, h_GK.shape[0], size)
        dh_GF = (_spectrum(u_BTD, h_GK.shape[0], size).conj_physical_().mul_(dy_GRF)).sum(1)
        dh_GK = torch.zeros_like(h_GK)
        dh_GK[:, :length] = torch.fft.irfft(dh_GF, n=size)[:, : min(taps, length)]
        return _tokens(dy_GRF.mul_(spectrum_GF.conj().unsqueeze(1)), size, u_BTD), dh_GK


def _spectrum(x_BTD: Tensor, num_groups: int, size: int) -> Tensor:
    """[G, C x B, F]; transforms run along contiguous memory."""
    spectrum: Tensor = torch.fft.rfft(channels_first(x_BTD), n=size)
    return spectrum.view(num_groups, -1, size // 2 + 1)


def _tokens(spectrum_GRF: Tensor, size: int, like_BTD: Tensor) -> Tensor:
    """The first T of `size` tokens, [B, T, D] contiguous."""
    batch, length, width = like_BTD.shape
    x_DBT = torch.fft.irfft(spectrum_GRF, n=size)[..., :length]
    return channels_last(x_DBT.reshape(width, batch, length), length)
