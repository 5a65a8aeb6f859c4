"""Which links a group of ranks spans: the layout's rank order over the machine's levels.

Ranks are placed in order, rank r on device r. Within a stage tensor ranks are next to each other, then context ranks,
then data ranks (`Layout`); so a group is `size` ranks that lie `stride` devices apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from harmony_core.errors import UserError
from harmony_core.machines.layout import Layout
from harmony_core.machines.machine import Link, Machine


@dataclass(frozen=True)
class Group:
    """Ranks that communicate: `size` of them, each `stride` devices after the one before."""

    size: int
    stride: int = 1

    @property
    def span(self) -> int:
        """Devices from the first rank to the last one, the gaps included."""
        return (self.size - 1) * self.stride + 1


def tensor_group(layout: Layout) -> Group:
    """Ranks that share a matrix."""
    return Group(layout.tp)


def context_group(layout: Layout) -> Group:
    """Ranks that share a sequence."""
    return Group(layout.cp, layout.tp)


def expert_group(layout: Layout) -> Group:
    """Ranks that share one copy of the experts."""
    return Group(layout.ep, layout.tp)


def data_group(layout: Layout) -> Group:
    """Ranks that hold the same dense weights of a stage."""
    return Group(layout.data_ranks, layout.tp)


def expert_data_group(layout: Layout) -> Group:
    """Ranks that hold the same experts of a stage."""
    return Group(layout.data_ranks // layout.ep, layout.ep * layout.tp)


def stage_group(layout: Layout) -> Group:
    """A rank of the first stage and its like in the last one.

    Neighbouring stages are taken as far apart: somewhere along the pipeline a boundary crosses the widest level.
    """
    return Group(2, (layout.pp - 1) * layout.stage_size)


@dataclass(frozen=True)
class Hop:
    """What a group uses of one level of links.

    Args:
        link: the level.
        inside: ranks of the group that one instance of the next inner level joins.
        reached: ranks that this level joins, those `inside` included.
        bytes_per_second: of one rank, one direction, congestion taken off.
    """

    link: Link
    inside: int
    reached: int
    bytes_per_second: float


def hops(machine: Machine, group: Group) -> list[Hop]:
    """The levels that the group's messages pass, from neighbours outwards; none for a single rank.

    Raises:
        UserError: the group is wider than the machine.
    """
    found, inside = [], 1
    for link in machine.links:
        reached = min(group.size, max(1, math.ceil(link.devices / group.stride)))
        if reached > inside:
            found.append(Hop(link, inside, reached, link.bytes_per_second * _congestion(machine, link, group)))
            inside = reached
    if inside < group.size:
        fix = f"the links of {machine.name} join {machine.max_devices}; use at most that, or describe more links"
        raise UserError("gpus", group.span, fix)
    return found


def _congestion(machine: Machine, link: Link, group: Group) -> float:
    """share_per_doubling ** log2(span / devices) on the outermost level, beyond its well-joined part."""
    congestion = machine.congestion
    if congestion is None or link is not machine.links[-1] or group.span <= congestion.devices:
        return 1.0
    return float(congestion.share_per_doubling.value ** math.log2(group.span / congestion.devices))
