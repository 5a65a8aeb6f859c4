"""Problems over the architectures of a space, of two objectives each, whose best front is known exactly."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
import polars as pl

from benchmarks.search_quality.genes import ATTENTION, Genes, Layer
from harmony_core.architecture import Architecture
from harmony_core.results import front
from harmony_core.results.hypervolume import hypervolume
from harmony_core.search.frame import Frame
from harmony_core.space import Space

OBJECTIVES = ("val_bits_per_byte", "latency_seconds")
Values = tuple[float, float]
# A sum of contributions, and the numbers of the layers that have it.
Path = tuple[float, tuple[int, ...]]


class Problem(ABC):
    """Both objectives are minimised and bear the names of real ones, so that the real algorithms take them.

    Args:
        space: what architectures are of.
    """

    name: str
    # What hypervolumes are measured in.
    frame: Frame

    def __init__(self, space: Space) -> None:
        self.space, self.genes = space, Genes(space)

    @abstractmethod
    def values(self, architecture: Architecture) -> Values:
        """Both objectives, as they are."""

    @abstractmethod
    def best(self) -> list[tuple[Values, list[Layer]]]:
        """Points among which are all of the best front, each with the kinds of a flawless architecture that has it."""

    def measured(self, architecture: Architecture, seed: int) -> Values:
        """Both objectives, as a search of this seed measures them."""
        return self.values(architecture)

    @cached_property
    def known(self) -> float:
        """Hypervolume of the best front; every point of it is shown to be in the space."""
        points = points_frame([values for values, _ in self.best()])
        on_front = set(front(points, OBJECTIVES, constrained=True).select(OBJECTIVES).iter_rows())
        for values, layers in self.best():
            if values in on_front:
                assert np.allclose(self.values(self.genes.witness(layers)), values, rtol=0, atol=1e-12)
        return hypervolume(points, OBJECTIVES, self.frame)

    def found(self, seen: list[Architecture], seed: int) -> float:
        """Share of the known hypervolume that a search has: of the true values of what it takes for the front."""
        measured = points_frame([self.measured(one, seed) for one in seen])
        told = front(measured.with_row_index(), OBJECTIVES, constrained=True)["index"]
        return hypervolume(points_frame([self.values(seen[i]) for i in told]), OBJECTIVES, self.frame) / self.known


def points_frame(points: list[Values]) -> pl.DataFrame:
    """Points as rows that `store.front` takes."""
    return pl.DataFrame(points, schema=list(OBJECTIVES), orient="row").with_columns(violation=0.0)


class ZDT1(Problem):
    """ZDT1 (Zitzler, Deb and Thiele 2000): its first variable is the share of attention layers, its distance g is 1 and
    nine times the share of choices that are not the good ones."""

    name = "zdt1"
    frame = Frame(
        ideal=dict(zip(OBJECTIVES, (1.0, 0.0), strict=True)), reference=dict(zip(OBJECTIVES, (5.0, 1.1), strict=True))
    )

    def values(self, architecture: Architecture) -> Values:
        """As `Problem.values`."""
        return self._point(self._share(self.genes.layers(architecture)), self.genes.flaws(architecture))

    def best(self) -> list[tuple[Values, list[Layer]]]:
        """As `Problem.best`: every share of attention layers that a depth allows, without a flaw."""
        attention = next(kind for kind in self.genes.mixers if kind in ATTENTION)
        other = next(kind for kind in self.genes.mixers if kind not in ATTENTION)
        channel = self.genes.channels[0]
        depths = range(self.space.depth.min, self.space.depth.max + 1)
        every = [
            [(attention, channel)] * n + [(other, channel)] * (depth - n) for depth in depths for n in range(depth + 1)
        ]
        return [(self._point(self._share(layers), 0.0), layers) for layers in every]

    def _share(self, layers: list[Layer]) -> float:
        return sum(mixer in ATTENTION for mixer, _ in layers) / len(layers)

    def _point(self, share: float, flaws: float) -> Values:
        distance = 1.0 + 9.0 * flaws
        # One more than ZDT1's second objective, as bits per byte are not nought.
        return 1.0 + distance * (1.0 - math.sqrt(share / distance)), share


class Chain(Problem):
    """Every layer's kinds contribute by a table of random numbers, and have a cost, which is the second objective.

    The first objective is the mean contribution, and the mean share of choices that are not the good ones. In `nk` a
    layer's contribution depends on its neighbours' kinds too (an NK landscape with K = 2, Kauffman and Levin 1987; the
    ends have a neighbour of their own): what is good in one place is not in another. In `noisy` it does not, but
    what a search measures has an error.
    """

    frame = Frame(
        ideal=dict(zip(OBJECTIVES, (0.0, 0.0), strict=True)), reference=dict(zip(OBJECTIVES, (1.5, 1.05), strict=True))
    )
    levels = 4
    # Standard deviations of the measured objectives: of the first added, of the logarithm of the second.
    noise = (0.0, 0.0)

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.alleles = [(mixer, channel) for mixer in self.genes.mixers for channel in self.genes.channels]
        self._number = {layer: number for number, layer in enumerate(self.alleles)}
        rng = np.random.default_rng(2026)
        count = len(self.alleles)
        # Contribution of a layer by the numbers of the one before, its own and the one behind; the last is the end.
        self.table = self.contributions(rng, count)
        # Every level is some mixer's.
        mixers = [self.genes.mixers[place] for place in rng.permutation(len(self.genes.mixers))]
        self.cost = {mixer: place % (self.levels + 1) for place, mixer in enumerate(mixers)}

    @abstractmethod
    def contributions(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """The table [count + 1, count, count + 1], between 0 and 1."""

    def values(self, architecture: Architecture) -> Values:
        """As `Problem.values`."""
        merit, cost = self._point(self.genes.layers(architecture))
        return merit + self.genes.flaws(architecture), cost

    def measured(self, architecture: Architecture, seed: int) -> Values:
        """As `Problem.measured`."""
        merit, cost = self.values(architecture)
        rng = np.random.default_rng([seed, int(architecture.id[:15], 16)])
        return merit + self.noise[0] * rng.standard_normal(), cost * math.exp(self.noise[1] * rng.standard_normal())

    def best(self) -> list[tuple[Values, list[Layer]]]:
        """As `Problem.best`: by dynamic programming, for every depth and sum of costs the least contributions."""
        found = []
        for depth in range(self.space.depth.min, self.space.depth.max + 1):
            for layers in self._least(depth):
                found.append((self._point(layers), layers))
        return found

    def _point(self, layers: list[Layer]) -> Values:
        end = len(self.alleles)
        numbers = [end, *(self._number[layer] for layer in layers), end]
        merits = self.table[numbers[:-2], numbers[1:-1], numbers[2:]]
        costs = [self.cost[mixer] for mixer, _ in layers]
        return float(np.mean(merits)), sum(costs) / (self.levels * len(layers))

    def _least(self, depth: int) -> list[list[Layer]]:
        """Of each sum of costs, the layers with the least sum of contributions."""
        count, end = len(self.alleles), len(self.alleles)
        cost = [self.cost[mixer] for mixer, _ in self.alleles]
        # By the last two layers and the sum of costs: the least sum of contributions, the last layer's yet to come.
        by_cost: dict[tuple[int, int, int], Path] = {(end, own, cost[own]): (0.0, (own,)) for own in range(count)}
        for _ in range(depth - 1):
            longer: dict[tuple[int, int, int], Path] = {}
            for (before, own, spent), (total, path) in by_cost.items():
                for behind in range(count):
                    key = (own, behind, spent + cost[behind])
                    value = total + self.table[before, own, behind]
                    if key not in longer or value < longer[key][0]:
                        longer[key] = (value, (*path, behind))
            by_cost = longer
        ended: dict[int, Path] = {}
        for (before, own, spent), (total, path) in by_cost.items():
            value = total + self.table[before, own, end]
            if spent not in ended or value < ended[spent][0]:
                ended[spent] = (value, path)
        return [[self.alleles[number] for number in path] for _, path in ended.values()]


class Epistatic(Chain):
    """What a layer contributes depends on its neighbours."""

    name = "nk"

    def contributions(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """As `Chain.contributions`."""
        return rng.random((count + 1, count, count + 1))


class Noisy(Chain):
    """What a layer contributes is its own, and is measured with an error."""

    name = "noisy"
    noise = (0.1, 0.1)

    def contributions(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """As `Chain.contributions`."""
        return np.broadcast_to(rng.random((1, count, 1)), (count + 1, count, count + 1))


PROBLEMS: tuple[type[Problem], ...] = (ZDT1, Epistatic, Noisy)
