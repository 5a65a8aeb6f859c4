"""Whether a space's budget can be met at all, from the least and the most that its blocks cost."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harmony_core.space.ladder import COSTS
from harmony_core.space.space import Space
from harmony_core.space.stack import fixed_costs


@dataclass(frozen=True)
class Unreachable:
    """A constraint that nothing in a space meets.

    Args:
        name: the constraint.
        bound: the side that is out of reach: `max 1`.
        fix: what would be right.
    """

    name: str
    bound: str
    fix: str


def unreachable(space: Space, vocab_size: int) -> Unreachable | None:
    """The first constraint that no width, depth and blocks of the space can meet by themselves; None if all can."""
    limits = space.constraints.limits
    if not (np.isfinite(limits.low) | np.isfinite(limits.high)).any():
        return None
    ranges = [
        _range(space, vocab_size, d_model, tied)
        for d_model, tied in itertools.product(space.d_model, space.tie_embeddings)
    ]
    least_C, most_C = np.concatenate([low for low, _ in ranges]), np.concatenate([high for _, high in ranges])
    meets_C = np.any((least_C <= limits.high) & (most_C >= limits.low), axis=0)
    for index, name in enumerate(COSTS):
        if meets_C[index]:
            continue
        low, high = limits.low[index], limits.high[index]
        least, most = least_C[:, index].min(), most_C[:, index].max()
        if least > high:
            return Unreachable(name, f"max {high:.12g}", f"the space has no architecture below {least:.0f}; raise it")
        if most < low:
            return Unreachable(name, f"min {low:.12g}", f"the space has no architecture above {most:.0f}; lower it")
        bounds = f"min {low:.12g}, max {high:.12g}"
        return Unreachable(name, bounds, "it falls between what depths and widths of the space reach; widen it")
    return None


def _range(space: Space, vocab_size: int, d_model: int, tied: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the most that architectures of this width cost, by depth: [depths, COSTS] each."""
    choices = space.choices(d_model)
    least, most = np.zeros(len(COSTS)), np.zeros(len(COSTS))
    for kinds in space.unit_kinds(d_model):
        bounds = np.stack([choices.cost_bounds([kind]) for kind in kinds])
        least, most = least + bounds[:, 0].min(0), most + bounds[:, 1].max(0)
    depths = np.arange(space.depth.min, space.depth.max + 1)
    fixed = np.stack([fixed_costs(d_model, vocab_size, tied, int(depth) * space.unit_size) for depth in depths])
    return fixed + depths[:, None] * least, fixed + depths[:, None] * most
