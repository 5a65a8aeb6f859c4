"""Rows and searches to test with."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from harmony_core.search.config import Config
from harmony_core.store import (
    LATENCY,
    POPULATION,
    TRAINING,
    Manifest,
    SearchFolder,
    schemas,
    write_manifest,
    write_table,
)

MakeRow = Callable[..., dict[str, Any]]


def plain_row(schema: pa.Schema, **values: Any) -> dict[str, Any]:
    """A row with some value of the right type in every column that may not be null."""
    samples = {
        pa.int32(): 0,
        pa.int64(): 0,
        pa.float64(): 0.5,
        pa.string(): "text",
        pa.bool_(): True,
        schemas.TIME: datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        schemas.IDS: [],
        schemas.WORKS: [],
    }
    row: dict[str, Any] = {}
    for field in schema:
        allowed = (field.metadata or {}).get(b"values", b"").decode()
        sample = allowed.split("|")[0] if allowed else samples[field.type]
        row[field.name] = None if field.nullable else sample
    assert not values.keys() - row.keys()
    return {**row, **values}


@pytest.fixture
def make_row() -> MakeRow:
    return plain_row


@pytest.fixture
def folder(tmp_path: Path) -> SearchFolder:
    """A search that has begun and has no rows yet; prefill is its latency, 0.5 its target."""
    config = Config.parse(
        {
            "search": {
                "name": "small",
                "objectives": [
                    {"name": "val_bits_per_byte"},
                    {"name": "latency_seconds", "target": 0.5},
                ],
            }
        }
    )
    made = SearchFolder(tmp_path / "results" / "small")
    manifest = Manifest(
        config=config.model_dump(mode="json"),
        config_hash=config.hash,
        seed=0,
        precision="fp32",
        packages={"polars": "2"},
        data={"vocab_size": 256},
        machine={"host": "here"},
        hypervolume={"ideal": {"val_bits_per_byte": 0.0}, "reference": {"val_bits_per_byte": 8.0}},
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    write_manifest(made.manifest, manifest)
    return made


@pytest.fixture
def evaluate() -> Callable[..., None]:
    """Writes a generation: of each candidate its id, parents, bits per byte (None: diverged) and latency."""

    def write(folder: SearchFolder, generation: int | None, candidates: list[dict[str, Any]]) -> None:
        population, training, latency = [], [], []
        for number, one in enumerate(candidates):
            key = {"search": folder.name, "generation": generation, "candidate": number}
            key["architecture_id"] = one["id"]
            population.append(
                plain_row(POPULATION, **key, operator=one.get("operator", "sample"), parents=one.get("parents", []))
            )
            bits = one["bits"]
            status = "diverged" if bits is None else "ok"
            training.append(plain_row(TRAINING, **key, status=status, val_bits_per_byte=bits, val_loss=bits))
            for mode, factor in (("prefill", 1.0), ("decode", 100.0)):
                seconds = one["latency"] * factor
                latency.append(plain_row(LATENCY, **key, mode=mode, latency_seconds=seconds))
        write_table(folder.population(generation), population, POPULATION)
        write_table(folder.shard(generation, "training", 0), training, TRAINING)
        write_table(folder.shard(generation, "latency", 0), latency, LATENCY)

    return write
