"""The two-stage blocked convolution: a causal FIR as products a chunk (Ku et al. 2025, arXiv:2503.01868, section 3).

With tokens in chunks of Q, the Toeplitz matrix of a filter of K taps is block-banded:
Y_n = H_0 X_n + H_1 X_{n-1} + .. + H_J X_{n-J}, where H_j[l, m] = h[j Q + l - m]. Two blocks are exact for K <= Q + 1,
a third one reaches K <= 2 Q + 1, and so on: J = ceil((K - 1) / Q). The blocks are shared by all chunks and by all
channels of a group. Here they stand side by side, [H_J .. H_1 H_0], and meet windows of J + 1 chunks in one product.

B batch, T tokens, N chunks, D = G x C channels, G groups, K taps (tap 0 is the token itself), Q tokens of a chunk,
W = (J + 1) Q tokens of a window, L lags, R = C x B x N rows of a group, one for each chunk.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from harmony_core.models.kernels import onednn_fp32
from harmony_core.models.ops.layout import channels_first, channels_last
from harmony_core.models.ops.matmul import product

# Groups with fewer rows than this are faster in one batched call than one by one.
_MANY_ROWS = 128


def reach(taps: int, chunk: int) -> int:
    """J, how many chunks back the last tap lies at most."""
    return -(-(taps - 1) // chunk)


def chunk_size_for(taps: int) -> int:
    """Tokens of a chunk: about half of the filter, so that few of the products' terms lie outside of it."""
    return min(128, max(16, (1 << (taps - 1).bit_length()) // 2))


def hankel(h_GK: Tensor, chunk: int, blocks: int) -> Tensor:
    """[G, Q, W] whose entry (l, c) is h at lag l + c - (Q - 1), zero outside of the filter; W = blocks x Q >= K.

    Flipped along W it takes a window that ends with a chunk to that chunk's outputs: [H_J .. H_0]. Flipped along Q it
    is the transposed map, from a window that begins with the chunk.
    """
    lags_GL = pad(h_GK, (chunk - 1, blocks * chunk - h_GK.shape[1]))
    return lags_GL.as_strided((h_GK.shape[0], chunk, blocks * chunk), (lags_GL.shape[1], 1, 1))


def lag_sums(dhankel_GQW: Tensor, taps: int) -> Tensor:
    """The gradient of h [G, K] from that of its Hankel matrix: sums along the anti-diagonals."""
    chunk, window = dhankel_GQW.shape[1:]
    # Rows of W + Q read as rows of W + Q - 1 move each row one further right: anti-diagonals become columns.
    skewed_GQL: Tensor = pad(dhankel_GQW, (0, chunk)).flatten(1)[:, :-chunk].unflatten(1, (chunk, window + chunk - 1))
    return skewed_GQL.sum(1)[:, chunk - 1 : chunk - 1 + taps].contiguous()


def windows(x_DBT: Tensor, num_groups: int, chunk: int, before: int, after: int) -> Tensor:
    """Each chunk with `before` chunks ahead of it and `after` behind it, zeros outside of the sequence: [G, R, W]."""
    x_DBT = pad(x_DBT, (before * chunk, after * chunk - x_DBT.shape[2] % -chunk))
    width = (before + 1 + after) * chunk
    return x_DBT.unfold(2, width, chunk).reshape(num_groups, -1, width)


def grouped_product(a_GMK: Tensor, b_GNK: Tensor) -> Tensor:
    """a b^T for each group, [G, M, N]."""
    rows = max(a_GMK.shape[1:])
    if a_GMK.dtype == torch.float32 and onednn_fp32(a_GMK.device.type) and rows >= _MANY_ROWS:
        return torch.stack([product(a_MK, b_NK) for a_MK, b_NK in zip(a_GMK, b_GNK, strict=True)])
    return torch.bmm(a_GMK, b_GNK.mT)


@dataclass(frozen=True)
class BlockedConvolution:
    """Matrix products a chunk and group, for tensor cores; filters: h [G, K].

    Args:
        chunk_size: tokens Q of a chunk; None chooses one by the filter's length.
    """

    chunk_size: int | None = None

    def forward(self, u_BTD: Tensor, *filters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Y_n = [H_J .. H_0] [X_{n-J}; ..; X_n]."""
        (h_GK,) = filters
        chunk, last = self._sizes(h_GK)
        behind_GRW = windows(channels_first(u_BTD), h_GK.shape[0], chunk, last, 0)
        y_GRQ = grouped_product(behind_GRW, hankel(h_GK, chunk, last + 1).flip(2))
        return _sequence(y_GRQ, u_BTD), ()

    def backward(self, dy_BTD: Tensor, u_BTD: Tensor, kept: tuple[Tensor, ...], *filters: Tensor) -> tuple[Tensor, ...]:
        """dX_n = [H_0^T .. H_J^T] [dY_n; ..; dY_{n+J}], and X_n [dY_n; ..; dY_{n+J}]^T summed along its diagonals."""
        (h_GK,) = filters
        chunk, last = self._sizes(h_GK)
        ahead_GRW = windows(channels_first(dy_BTD), h_GK.shape[0], chunk, 0, last)
        du_GRQ = grouped_product(ahead_GRW, hankel(h_GK, chunk, last + 1).flip(1))
        u_GRQ = windows(channels_first(u_BTD), h_GK.shape[0], chunk, 0, 0)
        dhankel_GQW = grouped_product(u_GRQ.mT, ahead_GRW.mT).flip(1)
        return _sequence(du_GRQ, u_BTD), lag_sums(dhankel_GQW, h_GK.shape[1])

    def _sizes(self, h_GK: Tensor) -> tuple[int, int]:
        taps = h_GK.shape[1]
        chunk = self.chunk_size or chunk_size_for(taps)
        return chunk, reach(taps, chunk)


def _sequence(y_GRQ: Tensor, like_BTD: Tensor) -> Tensor:
    """Rows of chunks as a sequence, [B, T, D]."""
    batch, length, width = like_BTD.shape
    return channels_last(y_GRQ.view(width, batch, -1), length)
