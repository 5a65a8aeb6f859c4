"""The blocks that a space offers at one width: drawing, membership, neighbours, fitting to a width."""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from harmony_core.architecture import Block, Role, block_class
from harmony_core.space.block_space import BlockSpace, relative_size


class Choices:
    """Valid blocks of every kind at one width.

    Args:
        kinds: the space's block domains by kind.
        combinations: valid blocks by kind, whatever the width.
        d_model: the width.
    """

    def __init__(
        self, kinds: Mapping[str, BlockSpace], combinations: Mapping[str, tuple[Block, ...]], d_model: int
    ) -> None:
        self.d_model = d_model
        self._spaces = kinds
        self._blocks: dict[str, dict[Block, None]] = {}
        for kind, blocks in combinations.items():
            # Another kind's spelling of the same computation would only breed duplicates.
            offered = {
                block: None
                for block in blocks
                if kinds[kind].allows(block, d_model)
                and (block.canonical().kind == kind or block.canonical().kind not in kinds)
            }
            if offered:
                self._blocks[kind] = offered
        self._lists = {kind: tuple(blocks) for kind, blocks in self._blocks.items()}
        self._fitted: dict[tuple[Block, int], Block | None] = {}

    def kinds(self, role: Role | None = None) -> tuple[str, ...]:
        """Kinds with at least one block at this width."""
        return tuple(kind for kind in self._lists if role in (None, block_class(kind).role))

    def blocks(self, kind: str) -> tuple[Block, ...]:
        """All blocks of a kind at this width."""
        return self._lists.get(kind, ())

    def draw_kind(self, kinds: tuple[str, ...], rng: np.random.Generator) -> str:
        """One of `kinds` by the space's weights."""
        bounds = list(itertools.accumulate(self._spaces[kind].weight for kind in kinds))
        return kinds[min(bisect.bisect(bounds, rng.random() * bounds[-1]), len(kinds) - 1)]

    def draw(self, kinds: tuple[str, ...], rng: np.random.Generator) -> Block:
        """A kind by weight, then one of its valid combinations, each as likely."""
        blocks = self._lists[self.draw_kind(kinds, rng)]
        return blocks[int(rng.integers(len(blocks)))]

    def holds(self, block: Block) -> bool:
        """Whether the block, in its spelling or in the canonical one, is offered."""
        return any(spelling in self._blocks.get(spelling.kind, {}) for spelling in (block, block.canonical()))

    def neighbours(self, block: Block) -> list[tuple[str, Block]]:
        """Offered blocks that differ from `block` in one hyper-parameter, with its name."""
        offered = self._blocks.get(block.kind, {})
        found = []
        for name, values in self._values(block.kind).items():
            for value in values:
                changed = block.model_copy(update={name: value})
                if value != getattr(block, name) and changed in offered:
                    found.append((name, changed))
        return found

    def fit(self, block: Block, d_model: int) -> Block | None:
        """The block itself if it is offered, else the nearest of its kind.

        Nearest means fewest hyper-parameters changed, then the closest size relative to the width,
        then the first in the order of the choices.

        Args:
            block: a block of a model of width `d_model`.
            d_model: the width that it comes from.

        Returns:
            None when this width has no block of the kind.
        """
        if self.holds(block):
            return block
        key = (block, d_model)
        if key not in self._fitted:
            size = relative_size(block, d_model)

            def distance(other: Block) -> tuple[int, float]:
                return _changes(block, other), abs(math.log(relative_size(other, self.d_model) / size))

            self._fitted[key] = min(self.blocks(block.kind), key=distance, default=None)
        return self._fitted[key]

    def _values(self, kind: str) -> dict[str, list[Any]]:
        """Choices of each hyper-parameter that occur at this width."""
        blocks = self.blocks(kind)
        names = self._spaces[kind].domains if blocks else ()
        return {name: list(dict.fromkeys(getattr(block, name) for block in blocks)) for name in names}


def _changes(first: Block, second: Block) -> int:
    return sum(getattr(first, name) != getattr(second, name) for name in type(first).model_fields)
