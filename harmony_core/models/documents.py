"""Which tokens of a batch belong together: documents that were packed into one row, and padding.

B batch, T tokens. Whatever is computed here stays on the tokens' device: nothing waits for a value of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from harmony_core.models.ops.attention.fused import visible


@dataclass(frozen=True)
class Documents:
    """A token sees nothing of another document, and no state of one reaches it.

    Args:
        number_BT: int64, which of its row's documents a token belongs to; never falls along a row.
        real_BT: bool, the tokens that count; what the others' outputs are nobody should ask. None is all of them.
    """

    number_BT: Tensor
    real_BT: Tensor | None = None

    @classmethod
    def beginning_with(cls, tokens_BT: Tensor, separator: int) -> Documents:
        """Rows of packed text, each of whose documents begins with this token."""
        return cls((tokens_BT == separator).cumsum(1))

    @classmethod
    def padded(cls, real_BT: Tensor) -> Documents:
        """Rows of one document each, with padding before it, behind it or within; padding is a document of its own."""
        changes_BT = torch.nn.functional.pad(real_BT[:, 1:] != real_BT[:, :-1], (1, 0))
        return cls(changes_BT.cumsum(1), real_BT)

    def same(self, lag: int) -> Tensor:
        """bool [B, T]: whether the token `lag` places before is of the same document; false where there is none."""
        if lag == 0:
            return torch.ones_like(self.number_BT, dtype=torch.bool)
        same_BT = self.number_BT[:, lag:] == self.number_BT[:, :-lag]
        return torch.nn.functional.pad(same_BT, (min(lag, self.number_BT.shape[1]), 0))

    def positions(self) -> Tensor:
        """int64 [B, T], each token's place in its document, from 0."""
        place_T = torch.arange(self.number_BT.shape[1], device=self.number_BT.device)
        first_BT = place_T.where(~self.same(1), 0).cummax(1).values
        return place_T - first_BT

    def visible(self, window: int | None) -> Tensor:
        """bool [B, T, T]: whether query i sees key j of its own document, itself or before, i - j < `window`."""
        seen_TT = visible(self.number_BT.shape[1], window, self.number_BT.device)
        return seen_TT & (self.number_BT[:, :, None] == self.number_BT[:, None, :])
