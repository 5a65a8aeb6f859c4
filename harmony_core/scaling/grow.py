"""A found design grown to a target: first in depth, then in width."""

from __future__ import annotations

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.scaling.extrapolate import WAYS
from harmony_core.scaling.width import to_params


def grow(
    architecture: Architecture, *, by: str | None = None, blocks: int | None = None, params: int | None = None
) -> Architecture:
    """The architecture with more blocks, a width for so many parameters, or both, in this order.

    Args:
        architecture: what was found at small size; any.
        by: `stack` or `stretch`, how its blocks become `blocks` (`scaling.extrapolate`).
        blocks: how many; None leaves the depth.
        params: active parameters without embeddings; None leaves the width (`scaling.width`).

    Raises:
        UserError: a depth without a way, an unknown way, or what the two steps refuse.
    """
    if (by is None) != (blocks is None):
        raise UserError("by", by or "missing", "a new depth has a way and a number of blocks; give --by and --blocks")
    grown = architecture
    if by is not None and blocks is not None:
        if by not in WAYS:
            raise UserError("by", by, f"use {' or '.join(WAYS)}")
        grown = grown.replace(blocks=tuple(WAYS[by](grown.blocks, blocks)))
    return grown if params is None else to_params(grown, params)
