"""An architecture's blocks on their ladders, and widths that meet its limits.

R rungs of a ladder, S scales, N blocks.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from harmony_core.architecture import MLP, Architecture
from harmony_core.space.constraints import Limits
from harmony_core.space.ladder import COSTS, Ladder
from harmony_core.space.space import Space

# So many scales are tried in one direction: over a range of widths of 16, one every hundredth.
_SCALES = 256
_SWEEPS = 3


@functools.lru_cache(maxsize=1024)
def fixed_costs(d_model: int, vocab_size: int, tied: bool, num_blocks: int) -> NDArray[np.float64]:
    """What an architecture costs beside its blocks, the embedding and the norms.

    Args:
        d_model: its width.
        vocab_size: rows of the embedding.
        tied: whether the output projection is the embedding.
        num_blocks: each has a norm.

    Returns:
        [COSTS], float64, in each cost's own unit.
    """
    block = MLP(d_ff=1)
    whole = Architecture(d_model=d_model, vocab_size=vocab_size, tie_embeddings=tied, blocks=(block,) * num_blocks)
    costs = np.array([float(getattr(whole, name)()) for name in COSTS])
    return np.asarray(costs - num_blocks * Ladder([block], d_model).costs[0])


class Stack:
    """The rungs that an architecture's blocks stand on, and what it costs.

    Args:
        space: the ladders' space; it holds every block.
        architecture: whose blocks they are.
    """

    def __init__(self, space: Space, architecture: Architecture) -> None:
        self.architecture = architecture
        choices = space.choices(architecture.d_model)
        places = [choices.place(block) for block in architecture.blocks]
        self.ladders = [ladder for ladder, _ in places]
        self.rungs = np.array([rung for _, rung in places], dtype=np.int64)
        self.offset = fixed_costs(
            architecture.d_model, architecture.vocab_size, architecture.tie_embeddings, len(architecture.blocks)
        )

    def costs(self, rungs: NDArray[np.int64]) -> NDArray[np.float64]:
        """The costs of the architecture with its blocks on these rungs: [COSTS]."""
        blocks = [ladder.costs[rung] for ladder, rung in zip(self.ladders, rungs, strict=True)]
        return np.asarray(self.offset + np.stack(blocks).sum(0))

    def movable(self, role: str) -> list[int]:
        """Blocks of a role that have a width to choose."""
        return [index for index, ladder in enumerate(self.ladders) if ladder.role == role and len(ladder.blocks) > 1]

    def on(self, rungs: NDArray[np.int64]) -> Architecture:
        """The architecture with its blocks on these rungs; a block whose rung stays keeps its spelling."""
        blocks = [
            block if old == new else ladder.blocks[new]
            for block, ladder, old, new in zip(self.architecture.blocks, self.ladders, self.rungs, rungs, strict=True)
        ]
        return self.architecture.replace(blocks=tuple(blocks))

    def bounds(self, movable: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The costs with these blocks at their narrowest, and at their widest."""
        low, high = self.rungs.copy(), self.rungs.copy()
        for index in movable:
            low[index], high[index] = 0, len(self.ladders[index].blocks) - 1
        return self.costs(low), self.costs(high)

    def solve(self, limits: Limits, movable: Sequence[int]) -> NDArray[np.int64] | None:
        """Rungs of all blocks, those of `movable` changed as little as will do, that meet the limits.

        All are made wider or narrower by one factor; if no factor does, single blocks move on from the best one.

        Returns:
            [N], or None where nothing was found.
        """
        if not limits.meet(*self.bounds(movable)):
            return None
        rungs = self._scaled(limits, movable)
        costs = self.costs(rungs)
        for _ in range(_SWEEPS):
            before = limits.excess(costs)
            for index in movable:
                if limits.excess(costs) == 0:
                    return rungs
                ladder = self.ladders[index]
                others = costs - ladder.costs[rungs[index]]
                rungs[index] = _best_rung(limits, others + ladder.costs, int(rungs[index]))
                costs = others + ladder.costs[rungs[index]]
            if limits.excess(costs) == before:
                break
        return rungs if limits.excess(costs) == 0 else None

    def _scaled(self, limits: Limits, movable: Sequence[int]) -> NDArray[np.int64]:
        """The rungs nearest to all widths times one factor, of those that miss the limits least that nearest to 1."""
        reach = max(
            (float(self.ladders[index].widths[-1] / self.ladders[index].widths[0]) for index in movable), default=1.0
        )
        steps = reach ** (np.arange(_SCALES + 1) / _SCALES)
        scales_S = np.stack([steps, 1 / steps], axis=1).ravel()
        costs_SC = np.tile(self.costs(self.rungs), (len(scales_S), 1))
        columns = {}
        for index in movable:
            ladder, rung = self.ladders[index], self.rungs[index]
            columns[index] = ladder.nearest(ladder.widths[rung] * scales_S)
            costs_SC += ladder.costs[columns[index]] - ladder.costs[rung]
        best = int(np.argmin(limits.excess(costs_SC)))
        rungs = self.rungs.copy()
        for index, column in columns.items():
            rungs[index] = column[best]
        return rungs


def _best_rung(limits: Limits, costs_RC: NDArray[np.float64], rung: int) -> int:
    """The rung that misses the limits least, and of several the one nearest to where the block stands."""
    excess_R = limits.excess(costs_RC)
    best = np.flatnonzero(excess_R == excess_R.min())
    return int(best[np.argmin(np.abs(best - rung))])
