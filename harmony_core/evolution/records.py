"""Candidates between the store's tables and the algorithms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

import polars as pl

from harmony_core.config import Config
from harmony_core.errors import UserError
from harmony_core.evolution.config import Metric
from harmony_core.evolution.scored import Scored, Standing
from harmony_core.store import LATENCY, POPULATION, SELECTION, TRAINING, SearchFolder, measured, read_table
from harmony_core.store.table import empty

METRICS: tuple[str, ...] = get_args(Metric)


def recorded(folder: SearchFolder, generation: int) -> list[Scored]:
    """Everyone in a generation's selection, as the algorithm was told of them."""
    return [_scored(row) for row in read_table(folder.selection(generation), SELECTION).iter_rows(named=True)]


def survivors(folder: SearchFolder, generation: int) -> list[Scored]:
    """Who survived a generation's selection."""
    rows = read_table(folder.selection(generation), SELECTION).filter(pl.col("survives"))
    return [_scored(row) for row in rows.iter_rows(named=True)]


def evaluated(folder: SearchFolder, generation: int, config: Config) -> list[Scored]:
    """The candidates of a generation with their measurements, by number.

    Raises:
        UserError: a file is missing or damaged, or a candidate has no result yet.
    """
    population = read_table(folder.population(generation), POPULATION)
    shards = {
        name: pl.concat([empty(schema), *(read_table(path, schema) for path in folder.shards(generation, name))])
        for name, schema in (("training", TRAINING), ("latency", LATENCY))
    }
    needs_latency = any(objective.name == "latency_seconds" for objective in config.search.objectives)
    rows = measured(
        population.lazy(),
        shards["training"].lazy(),
        shards["latency"].lazy(),
        config.latency.objective,
        needs_latency,
    ).collect()
    missing = rows.filter(pl.col("status").is_null())["candidate"].to_list()
    if missing:
        wanted = ", ".join(str(candidate) for candidate in missing[:5]) + (", ..." if len(missing) > 5 else "")
        where = str(folder.generation(generation))
        raise UserError(where, f"no result of candidate {wanted}", "train and measure the generation first")
    return [_scored({**row, "birth_generation": generation}) for row in rows.iter_rows(named=True)]


def selection_rows(
    search: str, generation: int, scored: Iterable[Scored], standings: Iterable[Standing]
) -> list[dict[str, Any]]:
    """Rows of `schemas.SELECTION`, in the order given."""
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
        for one, standing in zip(scored, standings, strict=True)
    ]


def _scored(row: Mapping[str, Any]) -> Scored:
    return Scored(
        birth_generation=row["birth_generation"],
        candidate=row["candidate"],
        architecture_id=row["architecture_id"],
        status=row["status"],
        metrics={name: row[name] for name in METRICS},
    )
