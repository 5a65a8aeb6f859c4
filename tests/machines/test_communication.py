"""Groups of ranks over the levels of links, and the seconds of collectives, against counts by hand."""

from __future__ import annotations

import math

import pytest

from harmony_core.errors import UserError
from harmony_core.machines import Layout, Link, Machine
from harmony_core.machines.communication import (
    all_gather_seconds,
    all_reduce_seconds,
    all_to_all_seconds,
    reduce_scatter_seconds,
    send_seconds,
)
from harmony_core.machines.topology import (
    Group,
    context_group,
    data_group,
    expert_data_group,
    expert_group,
    hops,
    stage_group,
    tensor_group,
)
from tests.machines.distributed import cluster, link

LAYOUT = Layout(pp=4, dp=16, ep=4, cp=2, tp=2)


def test_groups_of_a_layout() -> None:
    """64 ranks a stage: tensor ranks are neighbours, then context ranks, then replicas."""
    assert tensor_group(LAYOUT) == Group(2, 1)
    assert context_group(LAYOUT) == Group(2, 2)
    assert data_group(LAYOUT) == Group(32, 2)
    assert expert_group(LAYOUT) == Group(4, 2)
    assert expert_data_group(LAYOUT) == Group(8, 8)
    assert stage_group(LAYOUT) == Group(2, 192)


@pytest.mark.parametrize(
    ("group", "reached"),
    [
        (Group(1), []),
        (Group(2), [("pair", 1, 2)]),
        (Group(8), [("pair", 1, 2), ("node", 2, 8)]),
        (Group(32), [("pair", 1, 2), ("node", 2, 8), ("network", 8, 32)]),
        (Group(4, 2), [("node", 1, 4)]),
        (Group(8, 8), [("network", 1, 8)]),
        (Group(32, 2), [("node", 1, 4), ("network", 4, 32)]),
    ],
)
def test_levels_that_a_group_passes(group: Group, reached: list[tuple[str, int, int]]) -> None:
    assert [(hop.link.name, hop.inside, hop.reached) for hop in hops(cluster(), group)] == reached


def test_a_group_wider_than_the_machine_is_refused() -> None:
    with pytest.raises(UserError, match=r"gpus: 1025: the links of cluster join 1024"):
        hops(cluster(), Group(1025))


def test_distance_costs_bandwidth_of_the_outermost_level_alone() -> None:
    near, far = (hops(cluster(congestion=0.9), Group(size)) for size in (64, 256))
    assert near[-1].bytes_per_second == 5
    assert far[-1].bytes_per_second == pytest.approx(5 * 0.9 ** math.log2(256 / 64), rel=0.01)
    assert [hop.bytes_per_second for hop in far[:-1]] == [hop.bytes_per_second for hop in near[:-1]] == [100, 20]


@pytest.mark.parametrize(
    ("group", "bandwidth"),
    [
        # A pair's own link; a node's ring crosses pairs with both of each; the network with all 8 of a node.
        (Group(2), 100),
        (Group(8), 40),
        (Group(64), 40),
        # One rank of each node: it has the share of one device.
        (Group(8, 8), 5),
        (Group(16, 4), 10),
    ],
)
def test_a_ring_is_as_fast_as_its_slowest_level(group: Group, bandwidth: float) -> None:
    seconds = (group.size - 1) / group.size * 1200 / bandwidth
    assert reduce_scatter_seconds(cluster(), group, 1200) == pytest.approx(seconds)
    assert all_gather_seconds(cluster(), group, 1200) == pytest.approx(seconds)
    assert all_reduce_seconds(cluster(), group, 1200) == pytest.approx(2 * seconds)


def test_all_to_all_is_as_slow_as_its_slowest_level() -> None:
    # Of 8 shares of 100 bytes, 1 goes to the pair, 6 to the node at 20 bytes/s.
    assert all_to_all_seconds(cluster(), Group(8), 800) == pytest.approx(600 / 20)
    # Of 16 shares of 100 bytes, 8 leave the node, at 5 bytes/s.
    assert all_to_all_seconds(cluster(), Group(16), 1600) == pytest.approx(800 / 5)


def test_latency_counts_where_there_is_little_to_send() -> None:
    slow = cluster(latency=1.0)
    assert reduce_scatter_seconds(slow, Group(8), 0) == pytest.approx(3)
    assert all_to_all_seconds(slow, Group(8), 0) == pytest.approx(7)
    # A step of a ring waits for the slowest level.
    network = slow.links[-1].model_copy(update={"latency": slow.links[-1].latency.model_copy(update={"value": 3.0})})
    slower = slow.model_copy(update={"links": (*slow.links[:-1], network)})
    assert reduce_scatter_seconds(slower, Group(64), 0) == pytest.approx(6 * 3)
    assert send_seconds(slow, Group(2, 8), 10) == pytest.approx(1 + 10 / 5)


@pytest.mark.parametrize("cost", [reduce_scatter_seconds, all_gather_seconds, all_reduce_seconds, all_to_all_seconds])
def test_one_rank_sends_nothing(cost) -> None:
    assert cost(cluster(latency=1.0), Group(1, 8), 1e9) == 0


@pytest.mark.parametrize("name", ["a100", "cpu", "frontier", "h100", "h200"])
def test_every_machine_says_how_it_is_joined(name: str) -> None:
    machine = Machine.from_yaml(name)
    speeds = [one.bytes_per_second for one in machine.links]
    assert speeds == sorted(speeds, reverse=True)
    assert machine.max_devices >= 64
    assert 0 < machine.usable_memory_bytes <= machine.memory_bytes.value


def test_frontier_reaches_the_planners_sizes() -> None:
    frontier = Machine.from_yaml("frontier")
    assert [one.devices for one in frontier.links][:2] == [2, 8]
    assert frontier.links[-1].bandwidth.value * 8 == 100e9
    assert frontier.max_devices >= 16_384


def test_levels_must_nest() -> None:
    fields = cluster().model_dump() | {"links": (link("pair", 2, 200), link("node", 7, 40))}
    with pytest.raises(UserError, match=r"node joins 7 devices; use a multiple of the 2 of pair"):
        Machine.parse(fields)
    with pytest.raises(UserError, match="efficiency"):
        Link.parse(link("pair", 2, 200).model_dump() | {"efficiency": {"value": 1.5, "source": "test"}})
