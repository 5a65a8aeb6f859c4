"""The blocks that a space offers at one width: drawing, membership, neighbours, fitting to a width."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmony_core.architecture import Block, Role, block_class
from harmony_core.space import hyper_parameters
from harmony_core.space.block_space import BlockSpace, relative_size
from harmony_core.space.hyper_parameters import shape
from harmony_core.space.ladder import Ladder, width
from harmony_core.space.limits import Grid

# On a grid, neighbours are at most this many times wider or narrower, or the next value.
_NEAR = 1.5


class Choices:
    """Valid blocks of every kind at one width, each function once.

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
        # For each canonical form: the block that is offered for it, and the combinations that spell it.
        self._offered: dict[Block, Block] = {}
        self._spelled: dict[Block, dict[Block, None]] = {}
        for kind, blocks in combinations.items():
            for block in blocks:
                if kinds[kind].allows(block, d_model):
                    self._offer(kind, block)
        self._canonical = {block: canonical for canonical, blocks in self._spelled.items() for block in blocks}
        self._canonical |= {block: canonical for canonical, block in self._offered.items()}
        self._values = self._used_values()
        self._ladders = self._make_ladders()
        self._places = {
            block: (ladder, rung)
            for ladders in self._ladders.values()
            for ladder in ladders
            for rung, block in enumerate(ladder.blocks)
        }
        self._bounds: dict[str, NDArray[np.float64]] = {}
        self._fitted: dict[tuple[Block, int], Block | None] = {}

    def _offer(self, kind: str, block: Block) -> None:
        canonical = block.canonical_in(self.d_model)
        # Another kind's spelling of the same computation would only breed duplicates.
        if canonical.kind == kind or canonical.kind not in self._spaces:
            self._offered.setdefault(canonical, canonical if canonical.kind == kind else block)
            self._spelled.setdefault(canonical, {})[block] = None

    def _make_ladders(self) -> dict[str, tuple[Ladder, ...]]:
        by_shape: dict[tuple[object, ...], list[Block]] = {}
        for block in self._offered.values():
            by_shape.setdefault(shape(block), []).append(block)
        ladders: dict[str, list[Ladder]] = {}
        for blocks in by_shape.values():
            ladders.setdefault(blocks[0].kind, []).append(Ladder(blocks, self.d_model))
        return {kind: tuple(found) for kind, found in ladders.items()}

    def kinds(self, role: Role | None = None) -> tuple[str, ...]:
        """Kinds with at least one block at this width."""
        return tuple(kind for kind in self._ladders if role in (None, block_class(kind).role))

    def blocks(self, kind: str) -> tuple[Block, ...]:
        """All blocks of a kind at this width."""
        return tuple(block for ladder in self.ladders(kind) for block in ladder.blocks)

    def ladders(self, kind: str) -> tuple[Ladder, ...]:
        """The same, those that differ in width alone together."""
        return self._ladders.get(kind, ())

    def cost_bounds(self, kinds: Sequence[str]) -> NDArray[np.float64]:
        """The least and the most that blocks of these kinds cost in all, each cost by itself: [2, COSTS]."""
        return np.asarray(np.stack([self._cost_bounds(kind) for kind in kinds]).sum(0))

    def _cost_bounds(self, kind: str) -> NDArray[np.float64]:
        if kind not in self._bounds:
            costs = np.concatenate([ladder.costs for ladder in self.ladders(kind)])
            self._bounds[kind] = np.stack([costs.min(0), costs.max(0)])
        return self._bounds[kind]

    def weight(self, kind: str) -> float:
        """How often a kind is drawn, relative to the others."""
        return self._spaces[kind].weight

    def kind_at(self, kinds: tuple[str, ...], quantile: float) -> str:
        """One of `kinds`, each having its weight's share of the quantiles from 0 to 1."""
        bounds = list(itertools.accumulate(self.weight(kind) for kind in kinds))
        return kinds[min(bisect.bisect(bounds, quantile * bounds[-1]), len(kinds) - 1)]

    def draw_of(self, kind: str, rng: np.random.Generator) -> Block:
        """A block of a kind: all but its width uniform over what is valid, then the width."""
        ladders = self._ladders[kind]
        rungs = ladders[int(rng.integers(len(ladders)))].blocks
        return rungs[int(rng.integers(len(rungs)))]

    def draw(self, kinds: tuple[str, ...], rng: np.random.Generator) -> Block:
        """A kind by weight, then a block of it."""
        return self.draw_of(self.kind_at(kinds, rng.random()), rng)

    def holds(self, block: Block) -> bool:
        """Whether the block is offered, in this spelling or in another one of the same computation."""
        return block.canonical_in(self.d_model) in self._offered

    def place(self, block: Block) -> tuple[Ladder, int]:
        """The ladder and the rung of a block that is offered."""
        return self._places[self._offered[block.canonical_in(self.d_model)]]

    def neighbours(self, block: Block) -> list[tuple[str, Block]]:
        """Offered blocks that differ from `block` in one hyper-parameter, with its name; those on a grid are near."""
        canonical = block.canonical_in(self.d_model)
        found: dict[tuple[str, Block], None] = {}
        for spelling in self._spelled.get(canonical, ()):
            for name, changed in self._changed(spelling):
                other = self._canonical.get(changed)
                if other is not None and other != canonical:
                    found[name, self._offered[other]] = None
        return list(found)

    def _changed(self, block: Block) -> Iterator[tuple[str, Block]]:
        for name, domain in self._spaces[block.kind].domains.items():
            if name == block.width_field and isinstance(domain, Grid):
                yield from ((name, other) for other in self._near_widths(block))
                continue
            for value in self._values[block.kind][name]:
                if value != hyper_parameters.value(block, name):
                    yield name, hyper_parameters.changed(block, name, value)

    def _used_values(self) -> dict[str, dict[str, list[Any]]]:
        """By kind, the choices of each hyper-parameter that occur at this width."""
        spelled: dict[str, list[Block]] = {kind: [] for kind in self._spaces}
        for blocks in self._spelled.values():
            for block in blocks:
                spelled[block.kind].append(block)
        return {
            kind: {name: list(dict.fromkeys(map(attrgetter(name), blocks))) for name in self._spaces[kind].domains}
            for kind, blocks in spelled.items()
        }

    def _near_widths(self, block: Block) -> list[Block]:
        ladder, rung = self.place(block)
        own = width(block)
        return [
            other
            for place, other in enumerate(ladder.blocks)
            if own / _NEAR <= width(other) <= own * _NEAR or abs(place - rung) == 1
        ]

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
            self._fitted[key] = self._nearest(block, relative_size(block, d_model))
        return self._fitted[key]

    def _nearest(self, block: Block, size: float) -> Block | None:
        found = [(*_distance(block, size, ladder), ladder) for ladder in self.ladders(block.kind)]
        _, _, rung, ladder = min(found, key=lambda one: one[:2], default=(0, 0.0, 0, None))
        return None if ladder is None else ladder.blocks[rung]


def _distance(block: Block, size: float, ladder: Ladder) -> tuple[int, float, int]:
    """Hyper-parameters that differ on the best rung, how far its size is, on a logarithmic scale, and the rung."""
    changes = sum(one != other for one, other in zip(shape(block), shape(ladder.blocks[0]), strict=True))
    rungs = np.flatnonzero(ladder.widths == width(block))
    if not len(rungs):
        changes, rungs = changes + 1, np.arange(len(ladder.blocks))
    far = np.abs(np.log(ladder.costs[rungs, 1] / ladder.d_model**2 / size))
    best = int(np.argmin(far))
    return changes, float(far[best]), int(rungs[best])
