"""Candidates between the store's tables and the algorithms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from harmony_core.errors import UserError
from harmony_core.evolution.context import Trial
from harmony_core.evolution.scored import Placement, Scored
from harmony_core.metrics import METRICS
from harmony_core.results import measured
from harmony_core.search.config import Config
from harmony_core.store import POPULATION, SELECTION, SearchFolder, read_table
from harmony_core.store.evaluators import viewed_tables
from harmony_core.store.queries import scan
from harmony_core.store.schemas import SELECTION_METRICS


def recorded(folder: SearchFolder, generation: int) -> list[Scored]:
    """Everyone in a generation's selection, as the algorithm was told of them."""
    return [_scored(row) for row in read_table(folder.selection(generation), SELECTION).iter_rows(named=True)]


def survivors(folder: SearchFolder, generation: int) -> list[Scored]:
    """Who survived a generation's selection."""
    rows = read_table(folder.selection(generation), SELECTION).filter(pl.col("survives"))
    return [_scored(row) for row in rows.iter_rows(named=True)]


def history(folder: SearchFolder, generation: int, source: int) -> list[Trial]:
    """Everybody before a generation, with what became of those that were made up to generation `source`.

    What is known of later ones by now hangs on who was faster, and is left out.

    Args:
        folder: the search's.
        generation: the one that is bred.
        source: the last whose results may be used; below 0 is none.

    Raises:
        UserError: a file is missing or damaged.
    """
    trials = []
    for birth in range(generation):
        told = recorded(folder, birth) if birth <= source else []
        ended = {one.candidate: one for one in told if one.birth_generation == birth}
        rows = read_table(folder.population(birth), POPULATION, ["candidate", "architecture_id", "architecture"])
        for number, architecture_id, text in rows.select("candidate", "architecture_id", "architecture").iter_rows():
            one = ended.get(number)
            outcome = () if one is None else (one.status, one.metrics)
            trials.append(Trial(birth, number, architecture_id, text, *outcome))
    return trials


def evaluated(folder: SearchFolder, generation: int, config: Config) -> list[Scored]:
    """The candidates of a generation with their measurements, by number.

    Args:
        folder: the search's.
        generation: the one that was bred and measured.
        config: names the evaluators and metrics that are read.

    Raises:
        UserError: a file is missing or damaged, or a candidate has no result yet.
    """
    population = read_table(folder.population(generation), POPULATION)
    settings = config.model_dump(mode="json")
    shards = {
        table.name: scan(folder.shards(generation, table.name), table.schema, table.columns)
        for table in viewed_tables(settings)
    }
    rows = measured(population.lazy(), shards, settings).collect()
    missing = rows.filter(pl.col("status").is_null())["candidate"].to_list()
    if missing:
        wanted = ", ".join(str(candidate) for candidate in missing[:5]) + (", ..." if len(missing) > 5 else "")
        where = str(folder.generation(generation))
        raise UserError(where, f"no result of candidate {wanted}", "train and measure the generation first")
    told = (*SELECTION_METRICS, *config.search.metrics)
    return [_scored({**row, "birth_generation": generation}, told) for row in rows.iter_rows(named=True)]


def selection_rows(
    search: str, generation: int, scored: Iterable[Scored], placements: Iterable[Placement]
) -> list[dict[str, Any]]:
    """Rows of `schemas.SELECTION`, in the order given.

    Args:
        search: its name.
        generation: the one that is selected in.
        scored: candidates with their measurements.
        placements: what the algorithm said of each, in the same order.
    """
    return [
        {
            "search": search,
            "generation": generation,
            "birth_generation": one.birth_generation,
            "candidate": one.candidate,
            "architecture_id": one.architecture_id,
            "status": one.status,
            **one.metrics,
            "violation": standing.violation,
            "rank": standing.rank,
            "crowding": standing.crowding,
            "fitness": standing.fitness,
            "survives": standing.survives,
        }
        for one, standing in zip(scored, placements, strict=True)
    ]


def _scored(row: Mapping[str, Any], names: Iterable[str] = METRICS) -> Scored:
    """The candidate of a row, with the metrics among `names` that the row has."""
    return Scored(
        birth_generation=row["birth_generation"],
        candidate=row["candidate"],
        architecture_id=row["architecture_id"],
        status=row["status"],
        metrics={name: row[name] for name in names if name in row},
    )
