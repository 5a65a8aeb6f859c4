"""From few blocks to many: Composer's stretching and stacking (arXiv:2510.00379), as we read them.

Its code was never released. Stretching rounds every run up, which can overshoot the depth that is wanted; how what is
too much is taken away again is our own rule, and is said at `stretch`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from fractions import Fraction

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.scaling.pattern import Group, T, groups, ungrouped


def stretch(sequence: Sequence[T], depth: int) -> list[T]:
    """Every run of h equal blocks becomes one of ceil(s h), with s = depth / blocks.

    The trim rule: while there are more than `depth`, the run that exceeds s h by most loses one block, of several the
    last; none loses its only block.

    Args:
        sequence: at least one block.
        depth: blocks of the result.

    Raises:
        UserError: there are more runs than blocks, so that no trimming leads there.
    """
    runs = groups(sequence)
    if depth < len(runs):
        fix = f"stretching keeps all its {len(runs)} runs of equal blocks; use at least {len(runs)}, or stack"
        raise UserError("blocks", depth, fix)
    return ungrouped(_stretched(runs, depth, least=1))


def stack(sequence: Sequence[T], depth: int) -> list[T]:
    """As many whole copies as there is room for; what is left is filled by one that is stretched down to it.

    That last piece is trimmed as `stretch` does, but a run may lose its only block: fewer blocks may be left than
    there are runs.

    Args:
        sequence: at least one block.
        depth: blocks of the result.
    """
    copies, rest = divmod(depth, len(sequence))
    return [*sequence] * copies + ungrouped(_stretched(groups(sequence), rest, least=0))


def _stretched(runs: Sequence[Group[T]], depth: int, least: int) -> list[Group[T]]:
    exact = [Fraction(depth * count, sum(count for _, count in runs)) for _, count in runs]
    counts = [math.ceil(one) for one in exact]
    while sum(counts) > depth:
        over = [(counts[index] - one, index) for index, one in enumerate(exact) if counts[index] > least]
        counts[max(over)[1]] -= 1
    return [(one, count) for (one, _), count in zip(runs, counts, strict=True)]


WAYS: dict[str, Callable[[Sequence[T], int], list[T]]] = {"stack": stack, "stretch": stretch}


def deepened(architecture: Architecture, by: str, blocks: int) -> Architecture:
    """The architecture with so many blocks.

    Args:
        architecture: what was found at small size; any.
        by: the way, a name in `WAYS`.
        blocks: how many.

    Raises:
        UserError: there is no such way, or it does not lead to so many.
    """
    if by not in WAYS:
        raise UserError("by", by, f"use {' or '.join(WAYS)}")
    return architecture.replace(blocks=tuple(WAYS[by](architecture.blocks, blocks)))
