"""The two steps of evolution that the workflow runs: make a generation, and select from it.

Both are functions of the configuration and of recorded rows alone, so any of them can be done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from harmony_core.evolution.breeding import EXHAUSTED, Breeder, Offspring, generation_strata
from harmony_core.evolution.context import Context
from harmony_core.evolution.records import evaluated, history, recorded, selection_rows, survivors
from harmony_core.evolution.scored import Scored
from harmony_core.results import front
from harmony_core.results.budget import Allowance, generation_allowance
from harmony_core.results.framing import derived_frame, settle_frame
from harmony_core.results.hypervolume import hypervolume
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.search.settings import read_settings
from harmony_core.space import Ledger, Space, SpaceExhausted
from harmony_core.store import (
    LEDGER,
    POPULATION,
    SELECTION,
    SearchFolder,
    population_row,
    read_table,
    with_metrics,
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
    _, config = read_settings(folder)
    allowance = generation_allowance(folder, config, generation)
    rows, breeding, reasons = breed(folder, generation, allowance)
    write_table(folder.ledger(generation), _ledger_rows(folder, generation, breeding), LEDGER)
    write_table(folder.population(generation), rows, with_metrics(POPULATION, config.search.metrics))
    return Bred(len(rows), allowance.wanted, reasons)


def breed(
    folder: SearchFolder, generation: int, allowance: Allowance
) -> tuple[list[dict[str, Any]], Ledger, tuple[str, ...]]:
    """A generation's population as rows, what was thrown away for it, and why it has fewer than wanted.

    Args:
        folder: the search's; nothing is written to it.
        generation: the one that is bred.
        allowance: how many candidates are wanted and paid for.

    Raises:
        UserError: the manifest or an earlier generation's file is missing or damaged.
    """
    manifest, config = read_settings(folder)
    search = config.search
    algorithm = search.make_algorithm()
    source = generation - 1 - search.lag
    algorithm.tell(recorded(folder, source) if source >= 0 else [])
    trials = history(folder, generation, source)
    context = Context(Space.read(config.space), manifest.data["vocab_size"], generation, trials)
    breeder = Breeder(context, algorithm)
    children, reasons = draw_children(breeder, config, generation, allowance)
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
            metrics=search.metrics,
        )
        for candidate, child in enumerate(children)
    ]
    return rows, breeder.ledger, reasons


def select_generation(folder: SearchFolder, generation: int) -> GenerationSummary:
    """Merges a generation with the survivors of the one before, and writes who survives.

    Raises:
        UserError: a file is missing or damaged, or a candidate has no result yet.
    """
    manifest, config = read_settings(folder)
    rows, new = select(folder, generation)
    first, alive = _first_alive(folder, generation, new)
    # The frame is written before the selection, so that whoever sees the selection has it.
    frame = settle_frame(folder, manifest, first, [one.metrics for one in alive])
    write_table(folder.selection(generation), rows, with_metrics(SELECTION, config.search.metrics))
    return _summary(folder, generation, config, frame, new)


def select(folder: SearchFolder, generation: int) -> tuple[list[dict[str, Any]], list[Scored]]:
    """A generation's selection as rows, and its own candidates as they were measured.

    Args:
        folder: the search's; nothing is written to it.
        generation: the one that is selected in.

    Raises:
        UserError: a file is missing or damaged, or a candidate has no result yet.
    """
    _, config = read_settings(folder)
    new = evaluated(folder, generation, config)
    merged = [*(survivors(folder, generation - 1) if generation > 0 else []), *new]
    placements = config.search.make_algorithm().tell(merged)
    return selection_rows(folder.name, generation, merged, placements), new


def frame_again(folder: SearchFolder) -> Frame | None:
    """The frame that follows from a search's selections; None where nobody of them has ended well.

    Args:
        folder: of a search whose manifest holds no frame; nothing is written to it.

    Raises:
        UserError: a file is missing or damaged.
    """
    selected = [one for one in folder.generations() if folder.selection(one).is_file()]
    first, alive = _first_alive(folder, max(selected, default=-1) + 1, [])
    if not alive:
        return None
    manifest, _ = read_settings(folder)
    return derived_frame(folder, manifest, first, [one.metrics for one in alive])


def _first_alive(folder: SearchFolder, generation: int, new: list[Scored]) -> tuple[int, list[Scored]]:
    """The first generation of which anybody ended well, up to this one with its candidates `new`, and who did."""
    for earlier in range(generation):
        alive = [one for one in recorded(folder, earlier) if one.ok and one.birth_generation == earlier]
        if alive:
            return earlier, alive
    return generation, [one for one in new if one.ok]


def draw_children(
    breeder: Breeder, config: Config, generation: int, allowance: Allowance
) -> tuple[list[Offspring], tuple[str, ...]]:
    """A generation's candidates, and why they are fewer than wanted.

    Args:
        breeder: makes one child; its ledger counts those that are missing.
        config: the search's.
        generation: the one to fill; 0 begins with the presets of `search.initial`.
        allowance: how many are wanted, and how many the budget pays for.

    Returns:
        The candidates, in order of their numbers, and a reason for each kind of missing one.
    """
    search, missing = config.search, {}
    if allowance.paid < allowance.wanted:
        missing[allowance.reason] = allowance.wanted - allowance.paid
    presets = [breeder.preset(name) for name in search.initial] if generation == 0 else []
    children = [child for child in presets if child is not None]
    first = len(children)
    # Strata are drawn for the whole generation, so that a candidate does not depend on how many are paid for.
    strata = generation_strata(search.seed, generation, search.population - first)
    for candidate in range(first, allowance.paid):
        seed = np.random.SeedSequence([search.seed, BREEDING, generation, candidate])
        try:
            children.append(breeder.child(np.random.default_rng(seed), strata[candidate - first]))
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


def _summary(
    folder: SearchFolder, generation: int, config: Config, frame: Frame | None, new: list[Scored]
) -> GenerationSummary:
    search = config.search
    selections = [read_table(folder.selection(g), SELECTION) for g in range(generation + 1)]
    # Each candidate counts once, in the selection of the generation that it was born in.
    born = pl.concat(selections).filter(pl.col("birth_generation") == pl.col("generation"))
    alive = born.filter(pl.col("status") == "ok")
    names = [objective.name for objective in search.objectives]
    best = front(alive, names, constrained=search.algorithm.targets_are_constraints)
    lowest = alive["val_bits_per_byte"].to_list()
    return GenerationSummary(
        generation=generation,
        evaluated=sum(one.ok for one in new),
        failed=sum(not one.ok for one in new),
        best_val_bits_per_byte=min(lowest, default=None),
        front_size=len(best),
        # Without a frame no candidate has ended well yet.
        hypervolume=hypervolume(best, names, frame) if frame is not None else 0.0,
    )
