"""A candidate as a row of the population table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
) -> dict[str, Any]:
    """The row of `schemas.POPULATION` with everything that can be counted before a weight exists.

    Args:
        architecture: the candidate.
        search: name of the search.
        generation: None for what promotion trains.
        candidate: its number in the generation.
        sequence_length: the recipe's, at which FLOPs are counted.
        origin: `sample`, `mutation`, `crossover` or `preset`.
        operator: the variation that made it.
        parents: architecture ids.
        role: `front` or `baseline` when promoted.
        name: the preset's name.
    """
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
        "num_params": architecture.num_params(),
        "num_active_params": architecture.num_active_params(),
        "num_non_embedding_params": architecture.num_non_embedding_params(),
        "num_active_non_embedding_params": architecture.num_active_non_embedding_params(),
        "flops_per_token": architecture.flops_per_token(sequence_length, "train"),
        "kv_bytes_per_token": architecture.kv_bytes_per_token(),
        "state_bytes": architecture.state_bytes(),
        "role": role,
        "name": name,
    }
