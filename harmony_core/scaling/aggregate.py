"""One design from the best of a search: Composer's aggregators (arXiv:2510.00379)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from harmony_core.architecture import Architecture, Block
from harmony_core.errors import UserError
from harmony_core.scaling.clusters import one_dimensional

# How many blocks before one must be as chosen already, by the name of the aggregator; None is all.
CONTEXTS: dict[str, int | None] = {"n0": 0, "n1": 1, "full": None}
CLUSTERS = 5


@dataclass(frozen=True)
class Aggregate:
    """What came of it.

    Args:
        architecture: the design.
        cluster: ids of the designs that it is made of, best first.
        trained: whether it is one of those that were aggregated.
    """

    architecture: Architecture
    cluster: tuple[str, ...]
    trained: bool


def aggregate(
    designs: Sequence[Architecture], costs: Sequence[float], context: int | None = 0, clusters: int = CLUSTERS
) -> Aggregate:
    """Block by block what most of the best designs have.

    The best are the cluster of least cost of K-means on the costs. Block i is the one that most of them have there,
    among those whose `context` blocks before i are the chosen ones; of equally many, that of the lower mean cost, and
    then the first of the best design that has one of them. Whoever chose block i - 1 is still among them, so there is
    always somebody.

    Args:
        designs: of one depth, width and vocabulary, each once.
        costs: what came of each; lower is better.
        context: c of N_c; None is the full prefix.
        clusters: K of K-means.

    Raises:
        UserError: fewer designs, or different costs, than clusters, or designs of several shapes.
    """
    _check(designs, costs, clusters)
    best = sorted(one_dimensional(costs, clusters)[0], key=lambda number: (costs[number], designs[number].id))
    # By spelling of what they compute, so that two that are one function are one choice.
    members = [(designs[number].canonical().blocks, costs[number]) for number in best]
    chosen: list[Block] = []
    for place in range(len(members[0][0])):
        start = 0 if context is None else max(0, place - context)
        alike = [one for one in members if list(one[0][start:place]) == chosen[start:]]
        chosen.append(_mode([(blocks[place], cost) for blocks, cost in alike]))
    made = designs[best[0]].replace(blocks=tuple(chosen))
    return Aggregate(made, tuple(designs[number].id for number in best), made.id in {one.id for one in designs})


def _mode(votes: Sequence[tuple[Block, float]]) -> Block:
    """The block of most votes; of several that of the lower mean cost, then the first."""
    by_block: dict[Block, list[float]] = {}
    for block, cost in votes:
        by_block.setdefault(block, []).append(cost)
    return min(by_block, key=lambda block: (-len(by_block[block]), float(np.mean(by_block[block]))))


def _check(designs: Sequence[Architecture], costs: Sequence[float], clusters: int) -> None:
    different = len(set(costs))
    if different < clusters:
        fix = f"{len(designs)} trained designs have {different} different results; use at most as many, or train more"
        raise UserError("clusters", clusters, fix)
    for name in ("d_model", "vocab_size", "tie_embeddings"):
        found = sorted({getattr(one, name) for one in designs})
        if len(found) > 1:
            raise UserError("search", f"{name} {found}", "designs differ in more than their blocks; search one choice")
