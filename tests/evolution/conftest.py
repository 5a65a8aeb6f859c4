"""A search in a small space whose measurements are made up by a formula instead of by training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from benchmarks.made_up import prepare, result
from harmony_core.search.config import Config
from harmony_core.search.frame import Frame
from harmony_core.store import LATENCY, POPULATION, TRAINING, SearchFolder, read_table, schemas, write_table

SPACE = """
pattern: layers
depth: {min: 2, max: 5}
d_model: [32, 64]
blocks:
  mqa: {domains: {num_heads: [2, 4], head_dim: [8, 16]}}
  mamba2: {domains: {d_state: [16, 32], head_dim: [16]}}
  mlp: {domains: {d_ff: [64, 128, 192]}}
"""
# Each with its time, and its share of the cost, of a candidate.
MODES = (("train", 3.0, 0.1), ("prefill", 1.0, 0.0), ("decode", 0.1, 0.0))


def made_up(architecture_id: str, num_params: int) -> tuple[str, float, float]:
    """Status, bits per byte and latency: a trade-off by size, some noise, one failure in eight."""
    noise = int(hashlib.sha256(architecture_id.encode()).hexdigest()[:6], 16) / 0xFFFFFF
    status = "diverged" if noise > 7 / 8 else "ok"
    return status, 1.0 + 2e4 / num_params + noise, num_params * 1e-6 * (1 + noise)


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., SearchFolder]:
    """Begins a search; `search` overrides its settings, `sections` those of other sections.

    Unless `framed`, generation 0 says what the hypervolume is measured in."""

    def begin(
        name: str = "toy",
        space: str = SPACE,
        sections: dict[str, Any] | None = None,
        framed: bool = True,
        **search: Any,
    ) -> SearchFolder:
        space_file = tmp_path / f"{name}-space.yaml"
        space_file.write_text(space)
        settings = {"name": name, "seed": 1, "population": 8, **search}
        config = Config.parse({"search": settings, "space": str(space_file), **(sections or {})})
        folder = SearchFolder(tmp_path / "results" / name)
        metrics = schemas.SELECTION.names[6:13]
        reference = {**dict.fromkeys(metrics, 1e6), "val_bits_per_byte": 8.0, "latency_seconds": 1.0}
        frame = Frame(ideal=dict.fromkeys(metrics, 0.0), reference=reference)
        prepare(folder, config, 256, frame if framed else None)
        return folder

    return begin


@pytest.fixture
def measure() -> Callable[..., None]:
    """Writes made-up results of a generation, over two shards; `backwards` is another order of workers.

    `cost` is the device seconds of each candidate, nine tenths of them in training.
    """

    def write(
        folder: SearchFolder, generation: int, backwards: bool = False, fail: bool = False, cost: float = 0.0
    ) -> None:
        population = read_table(folder.population(generation), POPULATION)
        for shard in (0, 1):
            training, latency = [], []
            for row in population.filter(pl.col("candidate") % 2 == shard).iter_rows(named=True):
                status, bits, seconds = made_up(row["architecture_id"], row["num_params"])
                status = "crashed" if fail else status
                loss = bits if status == "ok" else None
                ended = {"status": status, "val_bits_per_byte": loss, "device_seconds": cost * 0.9}
                training.append(result(TRAINING, row, shard=shard, **ended))
                for mode, factor, share in MODES if status == "ok" else ():
                    timed = {"mode": mode, "latency_seconds": seconds * factor, "device_seconds": cost * share}
                    latency.append(result(LATENCY, row, shard=shard, **timed))
            step = -1 if backwards else 1
            write_table(folder.shard(generation, "training", shard), training[::step], TRAINING)
            write_table(folder.shard(generation, "latency", shard), latency[::step], LATENCY)

    return write


@pytest.fixture
def reseed() -> Callable[[SearchFolder, int], None]:
    """Gives a search another seed."""

    def write(folder: SearchFolder, seed: int) -> None:
        data = json.loads(folder.manifest.read_text())
        data["seed"] = data["config"]["search"]["seed"] = seed
        del data["checksum"]
        folder.manifest.write_text(json.dumps(data))

    return write
