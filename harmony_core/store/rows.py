"""A candidate as a row of the population table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harmony_core.metrics import metric
from harmony_core.store.schemas import POPULATION_METRICS

if TYPE_CHECKING:
    from harmony_core.architecture import Architecture


def population_row(
    architecture: Architecture,
    *,
    search: str,
    generation: int | None,
    candidate: int,
    sequence_length: int,
    origin: str,
    operator: str,
    parents: Sequence[str] = (),
    role: str | None = None,
    name: str | None = None,
    metrics: Sequence[str] = (),
) -> dict[str, Any]:
    """The row of `schemas.POPULATION` with everything that can be counted before a weight exists.

    Args:
        architecture: the candidate.
        search: name of the search.
        generation: None for what promotion trains.
        candidate: its number in the generation.
        sequence_length: the recipe's, at which FLOPs are counted.
        origin: `sample`, `mutation`, `crossover`, `proposal` or `preset`.
        operator: the variation that made it.
        parents: architecture ids.
        role: `front` or `baseline` when promoted.
        name: the preset's name.
        metrics: names of the search's objectives; static ones without a column of the schema get one of their own.
    """
    static = [metric(name) for name in dict.fromkeys((*POPULATION_METRICS, *metrics)) if metric(name).is_static]
    return {
        "search": search,
        "generation": generation,
        "candidate": candidate,
        "architecture_id": architecture.id,
        "architecture": architecture.to_json(),
        "pattern": architecture.pattern(),
        "origin": origin,
        "operator": operator,
        "parents": list(parents),
        "d_model": architecture.d_model,
        "num_blocks": len(architecture.blocks),
        **{one.name: one.of(architecture, sequence_length) for one in static},
        "role": role,
        "name": name,
    }
