"""Causal convolution tap by tap in oneDNN's depthwise kernel, which reads channels last as the blocks write them.

B batch, T tokens, D channels, G filter groups, K taps (tap 0 is the token itself), S = T + K - 1 padded tokens,
P tokens of a piece.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn.functional import conv2d, pad

from harmony_core.models.ops.convolution.gated import column_sums

# Up to so many taps it is faster to compute their gradients one by one.
_FEW_TAPS = 6
# A kernel is made of so many tokens: longer ones leave the cache, and shorter ones start too many kernels.
_PIECE = 512


def _depthwise(padded_BSD: Tensor, w_DK: Tensor) -> Tensor:
    """y_t = sum_k w[:, k] padded_{t+k}, [B, T, D] contiguous."""
    y_BD1T = conv2d(padded_BSD.mT.unsqueeze(2), w_DK[:, None, None], groups=w_DK.shape[0])
    return y_BD1T.squeeze(2).mT.contiguous()


def tap_gradients(dy_BTD: Tensor, u_BTD: Tensor, taps: int) -> Tensor:
    """dh[d, k] = sum over batch and tokens of dy_{t+k} u_t, [D, K], one tap after the other.

    Args:
        dy_BTD: gradient of the outputs.
        u_BTD: the inputs.
        taps: K.
    """
    length = u_BTD.shape[1]
    dh_KD = dy_BTD.new_zeros((taps, u_BTD.shape[2]))
    for lag in range(min(taps, length)):
        dh_KD[lag] = column_sums(dy_BTD[:, lag:] * u_BTD[:, : length - lag])
    return dh_KD.T


def all_tap_gradients(ahead_BSD: Tensor, u_BTD: Tensor, taps: int) -> Tensor:
    """The same for many taps: the convolution of dy with u as the kernel, piece by piece.

    Args:
        ahead_BSD: gradient of the outputs, with K - 1 zeros behind.
        u_BTD: the inputs.
        taps: K.
    """
    batch, length, width = u_BTD.shape
    dh_KD = u_BTD.new_zeros((taps, width))
    for b in range(batch):
        for start in range(0, length, _PIECE):
            u_DP = u_BTD[b, start : start + _PIECE].T.contiguous()
            stop = start + u_DP.shape[1] + taps - 1
            dh_KD += _depthwise(ahead_BSD[b : b + 1, start:stop], u_DP)[0]
    return dh_KD.T


@dataclass(frozen=True)
class DirectConvolution:
    """K multiply-adds a channel and token and nothing else; filters: h [G, K]."""

    def forward(self, u_BTD: Tensor, *filters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """h conv u."""
        (h_GK,) = filters
        behind_BSD = pad(u_BTD, (0, 0, h_GK.shape[1] - 1, 0))
        return _depthwise(behind_BSD, _for_channels(h_GK.flip(1), u_BTD)), ()

    def backward(self, dy_BTD: Tensor, u_BTD: Tensor, kept: tuple[Tensor, ...], *filters: Tensor) -> tuple[Tensor, ...]:
        """du: the convolution that looks ahead; dh: products of two shifted sequences.

        Arguments as for `Convolution.backward`.
        """
        (h_GK,) = filters
        num_groups, taps = h_GK.shape
        ahead_BSD = pad(dy_BTD, (0, 0, 0, taps - 1))
        du_BTD = _depthwise(ahead_BSD, _for_channels(h_GK, u_BTD))
        few = taps <= _FEW_TAPS
        dh_DK = tap_gradients(dy_BTD, u_BTD, taps) if few else all_tap_gradients(ahead_BSD, u_BTD, taps)
        return du_BTD, dh_DK.unflatten(0, (num_groups, -1)).sum(1)


def _for_channels(h_GK: Tensor, u_BTD: Tensor) -> Tensor:
    """Each channel's own copy of its group's filter, [D, K]."""
    return h_GK.repeat_interleave(u_BTD.shape[2] // h_GK.shape[0], 0)
