"""Which channels a rank convolves when it holds all tokens of them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class ChannelShare:
    """The `rank`-th of `size` equal runs of neighbouring channels.

    Args:
        rank: which run.
        size: how many runs the channels are cut into.
    """

    rank: int = 0
    size: int = 1

    def of(self, x: Tensor, dim: int = 0) -> Tensor:
        """The share of a tensor with an entry for each channel along `dim`."""
        width = x.shape[dim] // self.size
        return x.narrow(dim, self.rank * width, width)

    def of_groups(self, h_GK: Tensor, width: int) -> Tensor:
        """The filters of the share's channels, whole groups where the cut falls between them, else a row a channel.

        Args:
            h_GK: filters [G, K], each shared by width / G channels.
            width: channels in all.
        """
        num_groups = h_GK.shape[0]
        return self.of(h_GK if num_groups % self.size == 0 else h_GK.repeat_interleave(width // num_groups, 0))


EVERY_CHANNEL = ChannelShare()
