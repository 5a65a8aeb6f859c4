"""Edits, and the widths that are solved anew so that an edited architecture meets the space's budget."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from harmony_core.architecture import Architecture, Block
from harmony_core.space.constraints import Limits
from harmony_core.space.ladder import COSTS
from harmony_core.space.space import Space
from harmony_core.space.stack import Stack


@dataclass(frozen=True)
class Edit:
    """What an operator made, before its widths are solved.

    Args:
        architecture: the result, whose structure is the space's.
        operator: what was done, for people: `replace block 3: gqa -> mamba2`.
        near: blocks that should make up for the edit's costs, each alone, the first first.
        named: a block whose width is what the edit is about, and must stay.
        names_d_model: whether the width of the model is.
    """

    architecture: Architecture
    operator: str
    near: tuple[int, ...] = ()
    named: int | None = None
    names_d_model: bool = False


def repair(space: Space, edit: Edit) -> Architecture | None:
    """The edited architecture with widths that meet the limits on what adds up over its blocks.

    What the edit is about stays: kinds, order, every field but the free widths. Those are the widths of
    channel mixers, or where a stack has none of the token mixers' states, or else the model's. One block near
    the edit makes up for it where one can; else all do, in proportion.

    Returns:
        The architecture itself where it meets them already; None where no widths do.
    """
    limits, stack = space.constraints.limits, Stack(space, edit.architecture)
    costs = stack.costs(stack.rungs)
    if limits.excess(costs) == 0:
        return edit.architecture
    for blocks in _groups(stack, edit, limits):
        rungs = stack.solve(limits, blocks)
        if rungs is not None:
            return stack.on(rungs)
    return None if free_blocks(stack) or edit.names_d_model else _at_another_width(space, edit.architecture)


def fitted_blocks(space: Space, blocks: tuple[Block, ...], old_width: int, new_width: int) -> tuple[Block, ...] | None:
    """The blocks at another width, each the nearest of its kind there; None where a kind has none.

    Args:
        space: gives the choices at the new width.
        blocks: some or all of an architecture's, in order.
        old_width: the `d_model` that they have sizes for.
        new_width: the `d_model` that they shall stand in.
    """
    choices = space.choices(new_width)
    fitted = [choices.fit(block, old_width) for block in blocks]
    return tuple(block for block in fitted if block is not None) if None not in fitted else None


def _at_another_width(space: Space, architecture: Architecture) -> Architecture | None:
    """At the nearest width, relatively, at which the limits are met."""
    own = architecture.d_model
    for d_model in sorted(set(space.d_model) - {own}, key=lambda width: (abs(math.log(width / own)), width)):
        blocks = fitted_blocks(space, architecture.blocks, own, d_model)
        if blocks is not None:
            moved = architecture.replace(d_model=d_model, blocks=blocks)
            stack = Stack(space, moved)
            if space.constraints.limits.excess(stack.costs(stack.rungs)) == 0:
                return moved
    return None


def free_blocks(stack: Stack) -> list[int]:
    """The blocks whose widths a budget of parameters is solved with."""
    return stack.movable("channel") or stack.movable("mixer")


def _groups(stack: Stack, edit: Edit, limits: Limits) -> Iterator[list[int]]:
    """Sets of blocks that may change their widths, the smallest change first."""
    channels, mixers = ([i for i in stack.movable(role) if i != edit.named] for role in ("channel", "mixer"))
    free = channels or mixers
    yield from ([index] for index in edit.near if index in free)
    yield free
    # A channel mixer has no cache and no state.
    costs = stack.costs(stack.rungs)
    held = [COSTS.index(name) for name in ("kv_bytes_per_token", "state_bytes")]
    if ((costs < limits.low) | (costs > limits.high))[held].any() and mixers:
        yield [*channels, *mixers]
