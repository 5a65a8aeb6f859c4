"""Engines on the table: a trial draws the result of one seed, and what is chosen is judged by the other two."""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.composer_engines.table import SPACE, Losses, letters
from harmony_core.architecture import Architecture
from harmony_core.base import digest
from harmony_core.evolution.algorithms import read_algorithm
from harmony_core.evolution.context import Context, Trial
from harmony_core.evolution.proposal import Take
from harmony_core.scaling.aggregate import aggregate
from harmony_core.search.objective import Objective
from harmony_core.space import Space
from harmony_core.store import Journal

LOSS = "val_bits_per_byte"
RANDOM, ONE_SHOT = "random", "one_shot"
# By name: the settings of `search.algorithm`. Steps of one and two both take twelve trials to six blocks.
ENGINES: dict[str, dict[str, Any]] = {
    RANDOM: {"kind": "one_shot", "picks": "random"},
    ONE_SHOT: {"kind": "one_shot"},
    "end_layer_1": {"kind": "end_layer", "step": 1},
    "end_layer_2": {"kind": "end_layer", "step": 2},
    "middle_layer_1": {"kind": "middle_layer", "step": 1},
    "middle_layer_2": {"kind": "middle_layer", "step": 2},
}
AGGREGATORS: dict[str, int | None] = {"n0": 0, "n1": 1, "full": None}
# Of the random numbers: which seed a trial draws, and what the engines pick.
_OF_RESULTS, _OF_PICKS = 11, 12


@dataclass(frozen=True)
class Draw:
    """One replay's world.

    Args:
        number: seeds the engines too.
        results: by design, what a trial of it gives: the loss on one seed, drawn for each design by itself.
        truth: by design, the mean loss on the other seeds.
    """

    number: int
    results: Mapping[str, float]
    truth: Mapping[str, float]

    @property
    def digest(self) -> str:
        """Of all that an engine meets in it."""
        return digest([self.number, sorted(self.results.items())])

    def regret(self, design: str) -> float:
        """How much worse a design is in truth than the best of all, in bits per byte."""
        return self.truth[design] - min(self.truth.values())

    def best(self, count: int) -> list[str]:
        """The truly best of the greatest depth, best first."""
        depth = max(map(len, self.truth))
        return sorted((one for one in self.truth if len(one) == depth), key=lambda one: (self.truth[one], one))[:count]


def draw(table: Losses, number: int) -> Draw:
    """The draw of a number; designs in the order of their names, so that nothing hangs on the journal's."""
    rng = np.random.default_rng(np.random.SeedSequence([_OF_RESULTS, number]))
    results, truth = {}, {}
    for design in sorted(table):
        chosen = int(rng.integers(len(table[design])))
        results[design] = table[design][chosen]
        truth[design] = statistics.fmean(loss for seed, loss in enumerate(table[design]) if seed != chosen)
    return Draw(number, results, truth)


def replay(settings: Mapping[str, Any], world: Draw, designs: Mapping[str, Architecture], trials: int) -> list[str]:
    """The designs that an engine tries, in order; it ends where it has nothing more to propose.

    Args:
        settings: as `search.algorithm` has them.
        world: says what a trial gives.
        designs: the architectures, by name.
        trials: how many at most, one a generation.
    """
    space, vocab_size = Space.read(SPACE), next(iter(designs.values())).vocab_size
    algorithm = read_algorithm(dict(settings)).make([Objective(name=LOSS)], 1)
    history: list[Trial] = []
    tried: list[str] = []
    for number in range(trials):
        algorithm.tell([])
        rng = np.random.default_rng(np.random.SeedSequence([_OF_PICKS, world.number, number]))
        proposal = algorithm.ask(Context(space, vocab_size, number, tuple(history)), rng)
        if not isinstance(proposal, Take):
            break
        design = letters(proposal.architecture)
        loss = world.results[design]
        failed = not np.isfinite(loss)
        metrics = {LOSS: None if failed else loss}
        architecture = designs[design]
        text = architecture.to_json()
        history.append(Trial(number, 0, architecture.id, text, "diverged" if failed else "ok", metrics))
        tried.append(design)
    return tried


def replay_all(
    worlds: Sequence[Draw], designs: Mapping[str, Architecture], trials: int, journal: Path | None = None
) -> dict[str, list[list[str]]]:
    """By engine the designs that it tries in each draw; a draw takes seconds, so the journal keeps it.

    Args:
        worlds: the draws.
        designs: the architectures, by name.
        trials: how many an engine has at most.
        journal: what is done is read from here, and written here; delete it when an engine changes. None keeps none.
    """
    done = {} if journal is None else kept(journal)
    for world in worlds:
        if world.digest not in done:
            done[world.digest] = {name: replay(of, world, designs, trials) for name, of in ENGINES.items()}
            if journal is not None:
                with contextlib.closing(Journal(journal)) as opened:
                    opened.append({"draw": world.number, "world": world.digest, "tried": done[world.digest]})
    return {name: [done[world.digest][name] for world in worlds] for name in ENGINES}


def kept(journal: Path) -> dict[str, dict[str, list[str]]]:
    """By digest of a draw and engine, the designs that it tried, as a journal of `replay_all` has them."""
    return {one["world"]: one["tried"] for one in Journal(journal).records()}


def chosen(tried: Sequence[str], world: Draw) -> str:
    """The design that a search ends with: the least loss of those that it tried, prefixes among them."""
    return min(tried, key=lambda design: (world.results[design], design))


def aggregated(
    tried: Sequence[str], world: Draw, designs: Mapping[str, Architecture], context: int | None, clusters: int
) -> str:
    """The design that an aggregator makes of those of the greatest depth that were tried.

    Args:
        tried: some designs, each once.
        world: says what each gave.
        designs: the architectures, by name.
        context: c of N_c; None is the full prefix.
        clusters: K of K-means.
    """
    depth = max(map(len, tried))
    deepest = [one for one in tried if len(one) == depth]
    costs = [world.results[one] for one in deepest]
    return letters(aggregate([designs[one] for one in deepest], costs, context, clusters).architecture)
