"""How often each operator gives a child, and how far from its parent: in the shipped spaces, and under a tight budget.

An attempt is one call of an operator on a sampled parent. It is accepted where its widths can be solved for the budget
and the child is another architecture than its parents; what does not apply to a parent at all is counted apart.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.baselines import BUDGET
from benchmarks.common import ROOT, write_result
from harmony_core.architecture import Architecture, Block
from harmony_core.base import read_yaml
from harmony_core.space import MUTATIONS, Edit, Space, accept, cross_once, draw_strata, hyper_parameters, sample

ATTEMPTS = 2_000
PARENTS = 400
VOCAB_SIZE = 257


@dataclass
class Tally:
    """What became of the attempts of one operator."""

    attempts: int = 0
    inapplicable: int = 0
    accepted: int = 0
    blocks: list[int] = field(default_factory=list)
    fields: list[int] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """Shares of all attempts, and over the accepted ones how many blocks and fields changed."""
        return {
            "attempts": self.attempts,
            "accepted": round(self.accepted / self.attempts, 4),
            "inapplicable": round(self.inapplicable / self.attempts, 4),
            "changed_blocks": _spread(self.blocks),
            "changed_fields": _spread(self.fields),
        }


def _spread(counts: list[int]) -> dict[str, float] | None:
    if not counts:
        return None
    return {"mean": round(statistics.fmean(counts), 2), "median": statistics.median(counts), "most": max(counts)}


def spaces() -> dict[str, Space]:
    """The shipped spaces, and the one of a budget."""
    return {"nano": Space.from_yaml("nano"), "harmony": Space.from_yaml("harmony"), "budget": budget()}


def budget() -> Space:
    """Nano within 2% of the presets' budget."""
    tight = read_yaml(ROOT / "resources" / "spaces" / "nano.yaml")
    tight["constraints"]["num_active_non_embedding_params"] = BUDGET
    return Space.parse(tight)


def distance(parent: Architecture, child: Architecture) -> tuple[int, int]:
    """Blocks that are new, gone or other ones, and how many fields differ in those of them that kept their kind.

    Blocks are matched in order, so that as few as possible changed; a changed width of the model is one field more.
    """
    first, second = parent.canonical().blocks, child.canonical().blocks
    rows = [(index, 0) for index in range(len(second) + 1)]
    for number, one in enumerate(first, 1):
        left = [(number, 0)]
        for two, above, corner in zip(second, rows[1:], rows, strict=False):
            kept = _plus(corner, _difference(one, two))
            left.append(min(kept, _plus(above, (1, 0)), _plus(left[-1], (1, 0))))
        rows = left
    return _plus(rows[-1], (0, int(parent.d_model != child.d_model)))


def _plus(one: tuple[int, int], other: tuple[int, int]) -> tuple[int, int]:
    return one[0] + other[0], one[1] + other[1]


def _difference(one: Block, two: Block) -> tuple[int, int]:
    if one.kind != two.kind:
        return 1, 0
    first, second = hyper_parameters.values(one), hyper_parameters.values(two)
    fields = sum(value != second[name] for name, value in first.items())
    return int(fields > 0), fields


def operators(space: Space) -> dict[str, Callable[[list[Architecture], np.random.Generator], Edit | None]]:
    """Every mutation, and crossover, as a function of parents of which it reads the first or the first two."""
    found: dict[str, Callable[[list[Architecture], np.random.Generator], Edit | None]] = {
        name: lambda parents, rng, mutation=mutation: mutation(space, parents[0], rng)  # type: ignore[misc]
        for name, mutation in MUTATIONS.items()
    }
    return {**found, "crossover": lambda parents, rng: cross_once(space, parents[0], parents[1], rng)}


def measure(space: Space, attempts: int, parents: int = PARENTS) -> dict[str, Tally]:
    """The tally of each operator, over the parents that a first generation of so many would have."""
    strata = draw_strata(parents, np.random.default_rng(0))
    drawn = [
        sample(space, VOCAB_SIZE, np.random.default_rng(seed), stratum).architecture
        for seed, stratum in enumerate(strata)
    ]
    tallies = {name: Tally() for name in operators(space)}
    for number, (name, operator) in enumerate(operators(space).items()):
        tally = tallies[name]
        for attempt in range(attempts):
            rng = np.random.default_rng([number, attempt])
            pair = [drawn[int(index)] for index in rng.choice(parents, size=2, replace=False)]
            tally.attempts += 1
            edit = operator(pair, rng)
            if edit is None:
                tally.inapplicable += 1
                continue
            child, reasons = accept(space, edit, {parent.id for parent in pair[: 1 + (name == "crossover")]})
            if not reasons:
                tally.accepted += 1
                blocks, fields = distance(pair[0], child)
                tally.blocks.append(blocks)
                tally.fields.append(fields)
    return tallies


def main() -> int:
    found = {}
    for name, space in spaces().items():
        found[name] = {operator: tally.row() for operator, tally in measure(space, ATTEMPTS).items()}
        for operator, row in found[name].items():
            print(name, operator, row, flush=True)
    write_result("variation", {"budget": BUDGET, "parents": PARENTS, "spaces": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
