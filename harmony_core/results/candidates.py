"""Candidates with what was measured of them: one row each, failures included."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from harmony_core.store.evaluators import DEFAULT, KEY, Settings, decisive_tables, viewed_tables


def measured(population: pl.LazyFrame, rows: Mapping[str, pl.LazyFrame], settings: Settings) -> pl.LazyFrame:
    """Joins a population with what each evaluator says of a candidate (`EvaluatorTable.by_candidate`).

    A candidate's status is that of its training, then of whatever measures an objective, in the order in which the
    configuration names them; null means that a result is not there yet.

    Args:
        population: rows of `schemas.POPULATION`.
        rows: of `viewed_tables` by name, those of their `columns` at least.
        settings: the search's configuration.

    Returns:
        The population's columns and status, val_loss [nats/token], val_bits_per_byte, rate and learning_rate,
        replicates, latency_seconds [s] and latency_marked, and those of further evaluators; sorted by generation and
        candidate.
    """
    joined, statuses = population, []
    for table in viewed_tables(settings):
        statuses.append(f"{table.name}_status")
        found = table.by_candidate(rows[table.name], settings).rename({"status": statuses[-1]})
        joined = joined.join(found, on=KEY, how="left", nulls_equal=True)
    status = pl.col(f"{DEFAULT[0]}_status")
    for table in decisive_tables(settings)[1:]:
        status = pl.when(status == "ok").then(pl.col(f"{table.name}_status")).otherwise(status)
    return joined.with_columns(status=status).drop(statuses).sort(KEY)
