"""Blocks that differ in their width alone, and what each of them costs."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harmony_core.architecture import Block
from harmony_core.space import hyper_parameters

# An architecture's costs here are the sum of its blocks', plus what width and vocabulary add.
COSTS = ("num_params", "num_active_params", "num_active_non_embedding_params", "kv_bytes_per_token", "state_bytes")


class Ladder:
    """The rungs, narrowest first; a kind without a width has one rung.

    Args:
        blocks: blocks of one kind, alike in every field but `width_field`.
        d_model: the width of the model that they stand in.
    """

    def __init__(self, blocks: Iterable[Block], d_model: int) -> None:
        self.blocks = tuple(sorted(blocks, key=width))
        self.d_model = d_model
        self.kind, self.role = self.blocks[0].kind, self.blocks[0].role

    @cached_property
    def widths(self) -> NDArray[np.float64]:
        """The value of `width_field` on every rung, ascending; 1 where there is none: [R]."""
        return np.array([width(block) for block in self.blocks], dtype=np.float64)

    @cached_property
    def costs(self) -> NDArray[np.float64]:
        """What every rung costs: [R, COSTS]."""
        rows = [
            (
                block.num_params(self.d_model) + self._second_norm(block),
                active := block.num_active_params(self.d_model) + self._second_norm(block),
                active,
                block.kv_bytes_per_token(),
                block.state_bytes(self.d_model),
            )
            for block in self.blocks
        ]
        return np.array(rows, dtype=np.float64)

    def _second_norm(self, block: Block) -> int:
        """Parameters of a further norm: the first one of every block is what the architecture has without it."""
        return block.norm_params(self.d_model) - self.d_model

    @cached_property
    def is_sparse(self) -> bool:
        """Whether a token uses some of the parameters alone, as it does of a mixture of experts."""
        return bool((self.costs[:, 0] > self.costs[:, 1]).any())

    def nearest(self, widths: NDArray[np.float64]) -> NDArray[np.int64]:
        """The rung nearest to each of these widths."""
        middles = (self.widths[1:] + self.widths[:-1]) / 2
        return np.searchsorted(middles, widths)


def width(block: Block) -> int:
    """The value of the block's `width_field`; 1 where it has none."""
    return 1 if block.width_field is None else int(hyper_parameters.value(block, block.width_field))
