"""The two steps of evolution that the workflow runs: make a generation, and select from it.

Both are functions of the configuration and of recorded rows alone, so any of them can be done again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.config import Config
from harmony_core.evolution.breeding import EXHAUSTED, Breeder, Child
from harmony_core.evolution.budget import Allowance, generation_allowance
from harmony_core.evolution.hypervolume import hypervolume
from harmony_core.evolution.records import evaluated, recorded, selection_rows, survivors
from harmony_core.evolution.registry import make_algorithm
from harmony_core.evolution.scored import Scored
from harmony_core.evolution.settings import read_settings
from harmony_core.space import Ledger, Space, SpaceExhausted
from harmony_core.store import (
    LEDGER,
    POPULATION,
    SELECTION,
    Manifest,
    SearchFolder,
    front,
    population_row,
    read_table,
    write_table,
)

BREEDING = 0


@dataclass(frozen=True)
class Bred:
    """What became of a generation's breeding.

    Args:
        candidates: how many it has.
        wanted: how many the configuration asks for.
        reasons: why it has fewer; empty if it has as many.
    """

    candidates: int
    wanted: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class GenerationSummary:
    """A generation in a line.

    Args:
        generation: its number.
        evaluated: candidates that are ok.
        failed: candidates that are not.
        best_val_bits_per_byte: lowest so far in the search; None if all have failed.
        front_size: candidates on the front of everything so far.
        hypervolume: of that front, between 0 and 1; never falls, unless a first candidate meets a target.
    """

    generation: int
    evaluated: int
    failed: int
    best_val_bits_per_byte: float | None
    front_size: int
    hypervolume: float


def mutate_generation(folder: SearchFolder, generation: int) -> Bred:
    """Writes a generation's population and ledger.

    Generation 0 is `search.initial` and samples; generation g is bred from the selection of
    g - 1 - lag. A space without anything new gives fewer rows, or none, and so does a budget that is spent;
    the ledger says why.

    Raises:
        UserError: the manifest or an earlier generation's file is missing or damaged.
    """
    manifest, config = read_settings(folder)
    search = config.search
    algorithm = make_algorithm(search)
    source = generation - 1 - search.lag
    told = recorded(folder, source) if source >= 0 else []
    algorithm.tell(told)
    breeder = Breeder(
        Space.read(config.space),
        manifest.data["vocab_size"],
        algorithm,
        _architectures(folder, (one for one in told if one.ok)),
        _history(folder, generation),
    )
    allowance = generation_allowance(folder, config, generation)
    children, reasons = _children(breeder, config, generation, allowance)
    rows = [
        population_row(
            child.architecture,
            search=folder.name,
            generation=generation,
            candidate=candidate,
            sequence_length=config.recipe.sequence_length,
            origin=child.origin,
            operator=child.operator,
            parents=child.parents,
            name=child.name,
        )
        for candidate, child in enumerate(children)
    ]
    write_table(folder.ledger(generation), _ledger_rows(folder, generation, breeder.ledger), LEDGER)
    write_table(folder.population(generation), rows, POPULATION)
    return Bred(len(rows), allowance.wanted, reasons)


def select_generation(folder: SearchFolder, generation: int) -> GenerationSummary:
    """Merges a generation with the survivors of the one before, and writes who survives.

    Raises:
        UserError: a file is missing or damaged, or a candidate has no result yet.
    """
    manifest, config = read_settings(folder)
    new = evaluated(folder, generation, config)
    merged = [*(survivors(folder, generation - 1) if generation > 0 else []), *new]
    standings = make_algorithm(config.search).tell(merged)
    rows = selection_rows(folder.name, generation, merged, standings)
    write_table(folder.selection(generation), rows, SELECTION)
    return _summary(folder, generation, config, manifest, new)


def _children(
    breeder: Breeder, config: Config, generation: int, allowance: Allowance
) -> tuple[list[Child], tuple[str, ...]]:
    """The candidates, and why they are fewer than wanted."""
    search, missing = config.search, {}
    if allowance.paid < allowance.wanted:
        missing[allowance.reason] = allowance.wanted - allowance.paid
    presets = [breeder.preset(name) for name in search.initial] if generation == 0 else []
    children = [child for child in presets if child is not None]
    for candidate in range(len(children), allowance.paid):
        seed = np.random.SeedSequence([search.seed, BREEDING, generation, candidate])
        try:
            children.append(breeder.child(np.random.default_rng(seed)))
        except SpaceExhausted:
            missing[EXHAUSTED] = allowance.paid - candidate
            break
    for reason, count in missing.items():
        breeder.ledger.add("propose", reason, count)
    return children, tuple(missing)


def _ledger_rows(folder: SearchFolder, generation: int, ledger: Ledger) -> list[dict[str, Any]]:
    return [
        {
            "search": folder.name,
            "generation": generation,
            "stage": stage,
            "reason": reason,
            "count": count,
        }
        for (stage, reason), count in ledger.counts.items()
    ]


def _history(folder: SearchFolder, generation: int) -> set[str]:
    """Ids of all candidates before this generation."""
    earlier = (read_table(folder.population(g), POPULATION, ["architecture_id"]) for g in range(generation))
    return {architecture_id for frame in earlier for architecture_id in frame["architecture_id"]}


def _architectures(folder: SearchFolder, parents: Iterable[Scored]) -> dict[str, Architecture]:
    """The parents' architectures by id, from the populations that they were born in."""
    born: dict[int, list[str]] = {}
    for parent in parents:
        born.setdefault(parent.birth_generation, []).append(parent.architecture_id)
    found = {}
    for birth, ids in born.items():
        rows = read_table(folder.population(birth), POPULATION, ["architecture_id", "architecture"])
        rows = rows.filter(pl.col("architecture_id").is_in(ids))
        found.update({one: Architecture.from_json(text) for one, text in rows.iter_rows()})
    return found


def _summary(
    folder: SearchFolder, generation: int, config: Config, manifest: Manifest, new: list[Scored]
) -> GenerationSummary:
    search = config.search
    selections = [read_table(folder.selection(g), SELECTION) for g in range(generation + 1)]
    # Each candidate once: in the selection of the generation that it was born in.
    born = pl.concat(selections).filter(pl.col("birth_generation") == pl.col("generation"))
    alive = born.filter(pl.col("status") == "ok")
    names = [objective.name for objective in search.objectives]
    best = front(alive, names, constrained=search.algorithm.kind != "fitness")
    lowest = alive["val_bits_per_byte"].to_list()
    return GenerationSummary(
        generation=generation,
        evaluated=sum(one.ok for one in new),
        failed=sum(not one.ok for one in new),
        best_val_bits_per_byte=min(lowest, default=None),
        front_size=len(best),
        hypervolume=hypervolume(best, names, manifest.hypervolume),
    )
