"""The two-stage blocked convolution: a causal FIR as products a chunk (Ku et al. 2025, arXiv:2503.01868, section 3).

With tokens in chunks of Q, the Toeplitz matrix of a filter of K taps is block-banded:
Y_n = H_0 X_n + H_1 X_{n-1} + .. + H_J X_{n-J}, where H_j[l, m] = h[j Q + l - m]. Two blocks are exact for K <= Q + 1,
a third one reaches K <= 2 Q + 1, and so on: J = ceil((K - 1) / Q). The blocks are shared by all chunks and by all
channels of a group. Here they stand side by side, [H_J .. H_1 H_0], and meet windows of J + 1 chunks.

B batch, T tokens, N chunks, D = G x C channels, G groups, K taps (tap 0 is the token itself), Q tokens of a chunk,
W = (J + 1) Q tokens of a window, L lags, R = C x B x N rows of a group, one for each chunk; S = (N + J) Q tokens
with the zeros behind them, E the channels with those of a group of zeros.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from harmony_core.models.kernels import block_path
from harmony_core.models.ops.convolution.layout import channels_first, channels_last


def reach(taps: int, chunk: int) -> int:
    """J, how many chunks back the last tap lies at most."""
    return -(-(taps - 1) // chunk)


def chunk_size_for(taps: int, most: int) -> int:
    """Tokens of a chunk: about half of the filter, so that few of the products' terms lie outside of it."""
    return min(most, max(16, (1 << (taps - 1).bit_length()) // 2))


def hankel(h_GK: Tensor, chunk: int, blocks: int) -> Tensor:
    """[G, Q, W] whose entry (l, c) is h at lag l + c - (Q - 1), zero outside of the filter; W = blocks x Q >= K.

    Flipped along W it takes a window that ends with a chunk to that chunk's outputs: [H_J .. H_0]. Flipped along Q it
    is the transposed map, from a window that begins with the chunk.

    Args:
        h_GK: taps, lag 0 first.
        chunk: tokens Q of a chunk.
        blocks: chunks of a window.
    """
    lags_GL = pad(h_GK, (chunk - 1, blocks * chunk - h_GK.shape[1]))
    return lags_GL.as_strided((h_GK.shape[0], chunk, blocks * chunk), (lags_GL.shape[1], 1, 1))


def lag_sums(dhankel_GQW: Tensor, taps: int) -> Tensor:
    """The gradient of h [G, K] from that of its Hankel matrix: sums along the anti-diagonals."""
    chunk, window = dhankel_GQW.shape[1:]
    # Rows of W + Q read as rows of W + Q - 1 move each row one further right: anti-diagonals become columns.
    skewed_GQL: Tensor = pad(dhankel_GQW, (0, chunk)).flatten(1)[:, :-chunk].unflatten(1, (chunk, window + chunk - 1))
    return skewed_GQL.sum(1)[:, chunk - 1 : chunk - 1 + taps].contiguous()


@dataclass(frozen=True)
class BlockedConvolution:
    """Matrix products a chunk and group; filters: h [G, K].

    Args:
        chunk_size: tokens Q of a chunk; None chooses one by the filter's length.
        products: type of a batch's products, whose sums are fp32 within one; an image's are fp32.
    """

    chunk_size: int | None = None
    products: torch.dtype = torch.float32

    def forward(self, u_BTD: Tensor, *filters: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Y_n = [H_J .. H_0] [X_{n-J}; ..; X_n]."""
        (h_GK,) = filters
        if block_path(u_BTD.device.type) == "batched":
            return _batched_forward(u_BTD, h_GK, self._chunk(h_GK, 128), self.products), ()
        y_BTD, image = _image_forward(u_BTD, h_GK, self._chunk(h_GK, 16))
        return y_BTD, (image,)

    def backward(self, dy_BTD: Tensor, u_BTD: Tensor, kept: tuple[Tensor, ...], *filters: Tensor) -> tuple[Tensor, ...]:
        """dX_n = [H_0^T .. H_J^T] [dY_n; ..; dY_{n+J}]; products of X and dY, summed along the diagonals.

        Arguments as for `Convolution.backward`.
        """
        (h_GK,) = filters
        if not kept:
            return _batched_backward(dy_BTD, u_BTD, h_GK, self._chunk(h_GK, 128), self.products)
        return _image_backward(dy_BTD, kept[0], h_GK, self._chunk(h_GK, 16))

    def _chunk(self, h_GK: Tensor, most: int) -> int:
        return self.chunk_size or chunk_size_for(h_GK.shape[1], most)


def _windows(x_BTD: Tensor, num_groups: int, chunk: int, before: int, after: int) -> Tensor:
    """Each chunk with `before` chunks ahead of it and `after` behind it, zeros outside of the sequence: [G, R, W]."""
    x_DBT = channels_first(x_BTD)
    x_DBT = pad(x_DBT, (before * chunk, after * chunk - x_DBT.shape[2] % -chunk))
    width = (before + 1 + after) * chunk
    return x_DBT.unfold(2, width, chunk).reshape(num_groups, -1, width)


def _sequence(y_GRQ: Tensor, like_BTD: Tensor) -> Tensor:
    """Rows of chunks as a sequence, [B, T, D]."""
    batch, length, width = like_BTD.shape
    return channels_last(y_GRQ.reshape(width, batch, -1), length)


def _batched_forward(u_BTD: Tensor, h_GK: Tensor, chunk: int, dtype: torch.dtype) -> Tensor:
    """One batched product in `dtype`, for tensor cores; fp32."""
    last = reach(h_GK.shape[1], chunk)
    behind_GRW = _windows(u_BTD.to(dtype), h_GK.shape[0], chunk, last, 0)
    products_GRQ = torch.bmm(behind_GRW, hankel(h_GK.to(dtype), chunk, last + 1).flip(2).mT)
    return _sequence(products_GRQ, u_BTD).float()


def _batched_backward(
    dy_BTD: Tensor, u_BTD: Tensor, h_GK: Tensor, chunk: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    num_groups, taps = h_GK.shape
    last = reach(taps, chunk)
    ahead_GRW = _windows(dy_BTD.to(dtype), num_groups, chunk, 0, last)
    du_GRQ = torch.bmm(ahead_GRW, hankel(h_GK.to(dtype), chunk, last + 1).flip(1).mT)
    dhankel_GQW = torch.bmm(_windows(u_BTD.to(dtype), num_groups, chunk, 0, 0).mT, ahead_GRW).flip(1)
    return _sequence(du_GRQ, u_BTD).float(), lag_sums(dhankel_GQW.float(), taps)


def _to_image(x_BTD: Tensor, num_groups: int, chunk: int, before: int) -> Tensor:
    """Chunks as rows, a group's channels as columns, places in a chunk as an image's channels: [B, G x Q, N, C].

    There are `before` rows of zeros ahead.
    """
    batch, length, width = x_BTD.shape
    rows, columns = -(-length // chunk), width // num_groups
    x_BTD = pad(x_BTD, (0, 0, 0, rows * chunk - length)) if length % chunk else x_BTD
    image = x_BTD.new_empty((batch, num_groups, chunk, before + rows, columns))
    if before:
        image[:, :, :, :before].zero_()
    image[:, :, :, before:] = x_BTD.view(batch, rows, chunk, num_groups, columns).permute(0, 3, 2, 1, 4)
    return image.view(batch, num_groups * chunk, before + rows, columns)


def _from_image(image: Tensor, num_groups: int, length: int) -> Tensor:
    """[B, T, D] again, contiguous."""
    batch, _, rows, columns = image.shape
    y_BNQGC = image.view(batch, num_groups, -1, rows, columns).permute(0, 3, 2, 1, 4)
    return y_BNQGC.reshape(batch, -1, num_groups * columns)[:, :length].contiguous()


@functools.cache
def _lag_numbers(chunk: int, blocks: int, transposed: bool) -> Tensor:
    """Lag + Q - 1 of each entry of `_kernel`, int64 [Q x Q x (J + 1)]."""
    with torch.inference_mode(False):
        place_Q = torch.arange(chunk)
        distance_QQ1 = (place_Q - place_Q[:, None] if transposed else place_Q[:, None] - place_Q).unsqueeze(2)
        back_J = torch.arange(blocks) if transposed else torch.arange(blocks).flip(0)
        return (distance_QQ1 + back_J * chunk + chunk - 1).flatten()


def _kernel(h_GK: Tensor, chunk: int, transposed: bool = False) -> Tensor:
    """[H_J .. H_0], or [H_0^T .. H_J^T], as a convolution's weight over rows of an image: [G x Q, Q, J + 1, 1]."""
    blocks = reach(h_GK.shape[1], chunk) + 1
    lags_GL = pad(h_GK, (chunk - 1, blocks * chunk - h_GK.shape[1]))
    return lags_GL.index_select(1, _lag_numbers(chunk, blocks, transposed)).view(-1, chunk, blocks, 1)


def _sequences(image: Tensor, kernel: Tensor, num_groups: int, length: int) -> Tensor:
    """The image's rows convolved with `kernel`, as sequences: [B, T, D]."""
    return _from_image(conv2d(image, kernel, groups=num_groups), num_groups, length)


def _image_forward(u_BTD: Tensor, h_GK: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """One dense convolution along the rows of an image, which oneDNN does faster than products; and the image."""
    num_groups = h_GK.shape[0]
    behind = _to_image(u_BTD, num_groups, chunk, reach(h_GK.shape[1], chunk))
    return _sequences(behind, _kernel(h_GK, chunk), num_groups, u_BTD.shape[1]), behind


def _image_backward(dy_BTD: Tensor, behind: Tensor, h_GK: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    num_groups, taps = h_GK.shape
    length, width = dy_BTD.shape[1:]
    # At a stride of 2 KB the pixels that `_filter_gradient` reads would fall into two of the first cache's sets.
    extra = 0 if width % 512 else width // num_groups
    ahead_BSE = pad(dy_BTD, (0, extra, 0, behind.shape[2] * chunk - length))
    kernel = _kernel(h_GK, chunk, transposed=True)
    du_BTD = _sequences(_to_image(ahead_BSE[:, :, :width], num_groups, chunk, 0), kernel, num_groups, length)
    return du_BTD, _filter_gradient(ahead_BSE, behind[:, :, reach(taps, chunk) :], taps, chunk)


def _filter_gradient(ahead_BSE: Tensor, u: Tensor, taps: int, chunk: int) -> Tensor:
    """dh [G, K]: products of X_n and dY_{n+j} summed over n, then along the diagonals.

    The products are a convolution of dy, an image as it lies in memory with its channels last, whose weight is the
    image u.
    """
    batch, channels, rows, columns = u.shape
    width = ahead_BSE.shape[2]
    step = width // columns * chunk
    image_BEHQ = ahead_BSE.view(batch, -1, chunk, width).permute(0, 3, 1, 2)
    weight = u.new_empty((batch, step, rows, 1, columns))
    weight[:, :channels, :, 0] = u
    if step > channels:
        weight[:, channels:].zero_()
    # The dimension of size 1 lies before the columns: conv2d of PyTorch 2.13 is wrong where it has another stride.
    weight = weight.permute(0, 1, 4, 2, 3)
    products = [conv2d(image_BEHQ[b : b + 1], weight[b], groups=width // columns) for b in range(batch)]
    products_1HQX = functools.reduce(torch.add, products).permute(0, 2, 3, 1).contiguous()
    # Place m of a chunk and place w of the window that begins with it are at lag w - m.
    return products_1HQX.as_strided((channels // chunk, taps, chunk), (chunk, step, step + 1)).sum(2)
