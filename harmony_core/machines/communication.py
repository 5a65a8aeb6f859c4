"""Seconds of a collective over a machine's links.

Costs are a latency and a bandwidth term each (Thakur, Rabenseifner and Gropp 2005, doi:10.1177/1094342005051521).
A ring over g ranks whose neighbours are next to each other crosses a level's links once for each instance of it; the
ranks inside the instance pass on a share each, so their links add up. A library picks trees where latency counts.
"""

from __future__ import annotations

import math

from harmony_core.machines.machine import Machine
from harmony_core.machines.topology import Group, hops


def all_reduce_seconds(machine: Machine, group: Group, num_bytes: float) -> float:
    """Every rank has `num_bytes`, every rank gets the sum: a reduce-scatter and an all-gather.

    Args:
        machine: gives the links.
        group: the ranks.
        num_bytes: of one rank.
    """
    return 2 * reduce_scatter_seconds(machine, group, num_bytes)


def reduce_scatter_seconds(machine: Machine, group: Group, num_bytes: float) -> float:
    """Every rank has `num_bytes` and gets its share of the sum: (g - 1) / g x bytes / bandwidth + log2(g) x latency.

    The bandwidth is that of the level that limits the ring, min over levels of bytes/s x ranks inside.

    Args:
        machine: gives the links.
        group: the ranks, g of them.
        num_bytes: of one rank, before.
    """
    passed = hops(machine, group)
    if not passed:
        return 0.0
    bandwidth = min(hop.bytes_per_second * hop.inside for hop in passed)
    latency = max(hop.link.latency.value for hop in passed)
    return (group.size - 1) / group.size * num_bytes / bandwidth + math.ceil(math.log2(group.size)) * latency


def all_gather_seconds(machine: Machine, group: Group, num_bytes: float) -> float:
    """Every rank has a share of `num_bytes` and gets all of it: a reduce-scatter backwards.

    Args:
        machine: gives the links.
        group: the ranks.
        num_bytes: of one rank, afterwards.
    """
    return reduce_scatter_seconds(machine, group, num_bytes)


def all_to_all_seconds(machine: Machine, group: Group, num_bytes: float) -> float:
    """Every rank has `num_bytes` and sends an even share of it to each rank, itself included.

    Levels carry their own destinations at the same time, so the slowest one counts; a message to each of the peers is
    started one after the other: max over levels of (reached - inside) / g x bytes / (bytes/s) + sum of latencies.

    Args:
        machine: gives the links.
        group: the ranks, g of them.
        num_bytes: of one rank, as much before as afterwards.
    """
    passed = hops(machine, group)
    if not passed:
        return 0.0
    peers = [hop.reached - hop.inside for hop in passed]
    slowest = max(n / group.size * num_bytes / hop.bytes_per_second for n, hop in zip(peers, passed, strict=True))
    return slowest + sum(n * hop.link.latency.value for n, hop in zip(peers, passed, strict=True))


def send_seconds(machine: Machine, group: Group, num_bytes: float) -> float:
    """One message from a rank to the next one of its group: latency + bytes / (bytes/s).

    Args:
        machine: gives the links.
        group: its stride is the way of the message.
        num_bytes: of the message.
    """
    passed = hops(machine, group)
    return sum(hop.link.latency.value + num_bytes / hop.bytes_per_second for hop in passed)
