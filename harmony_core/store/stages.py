"""Which files a search must have by now, in the order in which its steps make them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harmony_core.store.evaluators import EvaluatorTable, tables_of
from harmony_core.store.folder import SearchFolder
from harmony_core.store.manifest import read_manifest
from harmony_core.store.queries import Search

_MOST_LINES = 10


@dataclass(frozen=True)
class Stage:
    """Files that are made from the same inputs.

    Args:
        generation: whose they are; None is promotion.
        made: the files.
        inputs: what they are made from; none of it is newer than they are, or Snakemake makes them again.
    """

    generation: int | None
    made: tuple[Path, ...]
    inputs: tuple[Path, ...]

    @property
    def missing(self) -> list[Path]:
        """The files that are not there."""
        return [path for path in self.made if not path.is_file()]

    def settle_times(self, paths: list[Path]) -> None:
        """Makes some of the files as old as their inputs' newest, so that nothing made from them looks outdated."""
        newest = max(path.stat().st_mtime_ns for path in self.inputs if path.exists())
        for path in paths:
            os.utime(path, ns=(newest, newest))


def stages(search: Search) -> list[Stage]:
    """The stages of a search that are over by the files that there are, whatever else is gone.

    A selection needs all of its generation, a population the selection that it is bred from and what was evaluated of
    its survivors, a report promotion.

    Raises:
        UserError: no such search, or its manifest is damaged.
    """
    folder = SearchFolder.find(search)
    config = read_manifest(folder.manifest).config
    settings, lag = config["search"], config["search"]["lag"]
    shards = -(-settings["population"] // config["execution"]["candidates_per_job"])
    tables = tables_of(config)
    begun = [generation for generation in folder.generations() if _has_begun(folder, generation, tables)]
    selected = [generation for generation in begun if folder.selection(generation).is_file()]
    bred_from = [generation - 1 - lag for generation in begun]
    last = max([-1, *selected, *bred_from])
    found: list[Stage] = []
    for generation in range(max([last, *begun], default=-1) + 1):
        found.append(_population(folder, generation, lag, with_ledger=generation <= last))
        if generation <= last:
            found += _rest(folder, generation, shards, tables, is_parent=generation <= max(bred_from))
    return [*found, *_promotion(folder, config, selected)]


def missing(search: Search) -> list[Path]:
    """Files of finished steps that are gone, in the order of their making; `harmony resume` makes them again."""
    return [path for stage in stages(search) for path in stage.missing]


def missing_lines(search: Search) -> list[str]:
    """A line a missing file, with what helps; no more than a screen of them."""
    folder = SearchFolder.find(search)
    found = missing(folder)
    lines = [f"missing: {path}; `harmony resume {folder.path}` makes it again" for path in found[:_MOST_LINES]]
    return lines + ([f"missing: {len(found) - _MOST_LINES} more"] if len(found) > _MOST_LINES else [])


def _has_begun(folder: SearchFolder, generation: int, tables: list[EvaluatorTable]) -> bool:
    """Whether a generation has, or has had, a population: of its other files a ledger alone is made before it."""
    names = [name for table in tables for name in table.schemas]
    shards = (path for name in names for path in folder.shards(generation, name))
    return any(path.is_file() for path in (folder.population(generation), folder.selection(generation), *shards))


def _population(folder: SearchFolder, generation: int, lag: int, with_ledger: bool) -> Stage:
    # `harmony train` keeps its training like a search, without a ledger.
    before = [folder.population(generation - 1)] if generation else []
    parents = [folder.selection(generation - 1 - lag)] if generation > lag else []
    made = [folder.population(generation), *([folder.ledger(generation)] if with_ledger else [])]
    return Stage(generation, tuple(made), (folder.manifest, *before, *parents))


def _rest(
    folder: SearchFolder, generation: int, shards: int, tables: list[EvaluatorTable], is_parent: bool
) -> Iterator[Stage]:
    """What follows a population: its shards, the selection, and where that is bred from its survivors' shards."""
    population, selection = folder.population(generation), folder.selection(generation)
    of_all = [table for table in tables if table.takes == "all"]
    evaluated = [path for shard in range(shards) for path in _shard(folder, generation, shard, of_all)]
    yield Stage(generation, tuple(evaluated), (population,))
    before = [folder.selection(generation - 1)] if generation else []
    yield Stage(generation, (selection,), (population, *evaluated, *before))
    of_survivors = [table for table in tables if table.takes == "survivors"]
    if of_survivors and is_parent:
        made = [path for shard in range(shards) for path in _shard(folder, generation, shard, of_survivors)]
        yield Stage(generation, tuple(made), (population, selection))


def _promotion(folder: SearchFolder, config: dict[str, Any], selected: list[int]) -> list[Stage]:
    """Promotion, where a report says that it is over; one that is older than a selection is of a shorter search."""
    page = folder.report / "index.html"
    if not selected or not page.is_file() or not (config["promote"]["top_k"] or config["promote"]["baselines"]):
        return []
    last = folder.selection(selected[-1])
    if selected[-1] + 1 < config["search"]["generations"] or page.stat().st_mtime_ns < last.stat().st_mtime_ns:
        return []
    return [Stage(None, (folder.population(None), *_shard(folder, None, 0, tables_of(config))), (last,))]


def _shard(folder: SearchFolder, generation: int | None, shard: int, tables: list[EvaluatorTable]) -> list[Path]:
    """The files of a shard."""
    return [folder.shard(generation, name, shard) for table in tables for name in table.schemas]
