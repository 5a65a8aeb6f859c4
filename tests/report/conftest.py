"""A small finished search, made of rows and no training."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from harmony_core.architecture.presets import load_preset
from harmony_core.report.write import write_report
from harmony_core.search.config import Config
from harmony_core.store import (
    CURVES,
    LATENCY,
    LEDGER,
    POPULATION,
    SELECTION,
    TRAINING,
    Manifest,
    SearchFolder,
    population_row,
    schemas,
    write_manifest,
    write_table,
)

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
STEPS = 500

# Of each generation: preset, validation bits per byte (None: diverged), seconds of a prefill.
GENERATIONS = (
    (("llama-nano", 2.50, 0.040), ("mixtral-nano", 2.40, 0.060), ("samba-nano", None, 0.050)),
    (("jamba-nano", 2.60, 0.030), ("mamba-2-nano", 2.45, 0.070)),
)
SAMPLES = {
    pa.int32(): 0,
    pa.int64(): 0,
    pa.float64(): 0.5,
    pa.string(): "text",
    schemas.TIME: MOMENT,
    schemas.WORKS: [],
}


def whole(schema: pa.Schema, **values: Any) -> dict[str, Any]:
    """A row with null, or something allowed, in the columns that the report does not look at."""
    row: dict[str, Any] = {}
    for field in schema:
        allowed = (field.metadata or {}).get(b"values", b"").decode()
        sample = allowed.split("|")[0] if allowed else SAMPLES.get(field.type)
        row[field.name] = None if field.nullable else sample
    assert not values.keys() - row.keys()
    return {**row, **values}


def write_generation(folder: SearchFolder, generation: int | None, entries: Any, **population: Any) -> None:
    """Rows of a generation, or of promotion, as the workers would have written them."""
    tables: dict[str, list[dict[str, Any]]] = {"population": [], "training": [], "latency": [], "curves": []}
    for candidate, (preset, bits, seconds) in enumerate(entries):
        architecture = load_preset(preset)
        common = {"search": folder.name, "generation": generation, "candidate": candidate}
        made = {"origin": "sample", "operator": "sample", **population}
        tables["population"].append(population_row(architecture, **common, sequence_length=256, **made))
        key = {**common, "architecture_id": architecture.id}
        result = {"status": "diverged" if bits is None else "ok", "val_bits_per_byte": bits}
        result["test_bits_per_byte"] = bits + 0.1 if generation is None else None
        tables["training"].append(whole(TRAINING, **key, **result, tokens=STEPS * 10))
        tables["latency"].append(whole(LATENCY, **key, mode="prefill", latency_seconds=seconds))
        for step in range(1, STEPS + 1):
            point = {"step": step, "tokens": step * 10, "train_loss": 5.0 - step / STEPS}
            tables["curves"].append(whole(CURVES, **key, **point))
    write_table(folder.population(generation), tables["population"], POPULATION)
    write_table(folder.shard(generation, "training", 0), tables["training"], TRAINING)
    write_table(folder.shard(generation, "latency", 0), tables["latency"], LATENCY)
    write_table(folder.shard(generation, "curves", 0), tables["curves"], CURVES)
    if generation is not None:
        write_table(folder.ledger(generation), [], LEDGER)
        write_table(folder.selection(generation), [], SELECTION)


def begin(root: Path, **sections: Any) -> SearchFolder:
    """A search with a manifest and nothing else."""
    config = Config.parse({"search": {"name": "small"}, **sections})
    folder = SearchFolder(root / "results" / "small")
    ideal = {"val_bits_per_byte": 0.0, "latency_seconds": 0.0, "num_active_params": 0.0}
    reference = {"val_bits_per_byte": 8.0, "latency_seconds": 1.0, "num_active_params": 4e6}
    manifest = Manifest(
        config=config.model_dump(mode="json"),
        config_hash=config.hash,
        seed=7,
        precision="fp32",
        packages={},
        data={"id": "d", "source": "synthetic", "checksum": "c", "tokenizer_checksum": "t", "vocab_size": 257},
        machine={"host": "here"},
        hypervolume={"ideal": ideal, "reference": reference},
        created_at=MOMENT,
    )
    write_manifest(folder.manifest, manifest)
    return folder


def finish(root: Path) -> SearchFolder:
    """A finished search of two generations, promoted."""
    folder = begin(root)
    for generation, entries in enumerate(GENERATIONS):
        write_generation(folder, generation, entries)
    promoted = (("mixtral-nano", 2.3, 0.06), ("llama-nano", 2.4, 0.04))
    write_generation(folder, None, promoted, role="baseline", name="</script><b>odd</b> | name")
    return folder


@pytest.fixture
def begun(tmp_path: Path) -> SearchFolder:
    return begin(tmp_path)


def close(root: Path) -> SearchFolder:
    """A search whose budget was spent by the first of its two generations, and left nothing to promotion."""
    folder = begin(root, budget={"gpu_hours": 0.001})
    write_generation(folder, 0, GENERATIONS[0])
    for generation in (1, None):
        write_generation(folder, generation, ())
        row = {"search": "small", "generation": generation, "stage": "propose", "reason": "budget of <it>", "count": 3}
        write_table(folder.ledger(generation), [row], LEDGER)
    return folder


@pytest.fixture
def closed(tmp_path: Path) -> SearchFolder:
    return close(tmp_path)


@pytest.fixture
def search(tmp_path: Path) -> SearchFolder:
    return finish(tmp_path)


@pytest.fixture(scope="session")
def reported(tmp_path_factory: pytest.TempPathFactory) -> SearchFolder:
    """A finished search with its report; for tests that change nothing."""
    folder = finish(tmp_path_factory.mktemp("reported"))
    assert write_report(folder) == folder.report / "index.html"
    return folder
