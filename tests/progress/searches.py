"""A search whose journals and tables are written event by event, as its steps do it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.made_up import NEVER, blank
from harmony_core.evolution.generation import GenerationSummary, mutate_generation, select_generation
from harmony_core.search.config import Config
from harmony_core.store import (
    CURVES,
    LATENCY,
    POPULATION,
    TRAINING,
    Journal,
    Manifest,
    SearchFolder,
    read_table,
    schemas,
    write_manifest,
    write_table,
)

SPACE: dict[str, Any] = {
    "pattern": "layers",
    "depth": {"min": 2, "max": 5},
    "d_model": [32, 64],
    "blocks": {
        "mqa": {"domains": {"num_heads": [2, 4], "head_dim": [8, 16]}},
        "mlp": {"domains": {"d_ff": [64, 128, 192]}},
    },
}
PER_SHARD = 4


class MadeUpSearch:
    """A search of 8 candidates a generation in shards of 4, whose results the test says."""

    def __init__(self, root: Path, sections: dict[str, Any] | None = None, **search: Any) -> None:
        settings = {"name": "toy", "seed": 1, "generations": 2, "population": 8, **search}
        execution = {"candidates_per_job": PER_SHARD}
        self.config = Config.parse(
            {"search": settings, "space": SPACE, "execution": execution, "promote": {"top_k": 0}, **(sections or {})}
        )
        self.folder = SearchFolder(root / "results" / self.config.search.name)
        self._journals: dict[tuple[str, str, int], Journal] = {}

    def prepare(self, source: str = "shakespeare", framed: bool = True) -> None:
        """Writes the manifest, as the search's data is prepared; unless `framed`, generation 0 makes a frame."""
        names = schemas.SELECTION.names[6:13]
        reference = {**dict.fromkeys(names, 1e6), "val_bits_per_byte": 8.0, "latency_seconds": 1.0}
        manifest = Manifest(
            config=self.config.model_dump(mode="json"),
            config_hash=self.config.hash,
            seed=1,
            precision="fp32",
            packages={},
            data={"id": "made-up", "vocab_size": 256, "source": source},
            machine={"cpu": "a CPU"},
            hypervolume={"ideal": dict.fromkeys(names, 0.0), "reference": reference} if framed else None,
            created_at=NEVER,
        )
        write_manifest(self.folder.manifest, manifest)

    def record_start(self) -> None:
        """Writes what the workflow writes when it starts."""
        self.folder.main.parent.mkdir(parents=True, exist_ok=True)
        self.folder.main.write_text(json.dumps({"arguments": [], "folder": str(self.folder.path)}))
        self.folder.config.write_text(json.dumps(self.config.model_dump(mode="json", exclude_defaults=True)))

    def breed(self, generation: int) -> None:
        """Writes a generation's population."""
        mutate_generation(self.folder, generation)

    def promote(self) -> None:
        """Writes the promoted: the first candidate of generation 0."""
        row = read_table(self.folder.population(0), POPULATION).row(0, named=True)
        write_table(self.folder.population(None), [{**row, "generation": None, "role": "front"}], POPULATION)

    def open(self, generation: int | None, shard: int = 0, stage: str = "training") -> None:
        """A process takes a shard."""
        self.journal(stage, generation, shard).append({"event": "open", "total": PER_SHARD})

    def begin(self, generation: int | None, candidate: int, stage: str = "training") -> None:
        """An attempt begins."""
        self._append(stage, generation, candidate, event="begin", attempt=1)

    def lose(self, generation: int | None, candidate: int, event: str = "death") -> None:
        """An attempt ends without an answer: `death` or `interruption`."""
        self._append("training", generation, candidate, event=event, error="killed")

    def train(self, generation: int | None, candidate: int, bits: float | None, **row: Any) -> None:
        """A training ends; None is a candidate that diverged."""
        answer = {"row": self.training_row(generation, candidate, bits, **row), "curve": [{"step": 1, "seconds": 0.5}]}
        self._append("training", generation, candidate, event="final", answer=answer)

    def measure(self, generation: int | None, candidate: int, seconds: float) -> None:
        """A measurement ends."""
        answer = {"rows": self.latency_rows(generation, candidate, seconds)}
        self._append("latency", generation, candidate, event="final", answer=answer)

    def close(
        self, generation: int | None, values: dict[int, tuple[float | None, float]], shard: int = 0, cost: float = 0.0
    ) -> None:
        """Writes a shard's tables.

        `values` are bits per byte (None: diverged) and latency by candidate, `cost` is what each training takes of the
        budget [s].
        """
        spent = {"shard": shard, "device_seconds": cost}
        training = [self.training_row(generation, number, bits, **spent) for number, (bits, _) in values.items()]
        write_table(self.folder.shard(generation, "curves", shard), [], CURVES)
        write_table(self.folder.shard(generation, "training", shard), [_timed(row) for row in training], TRAINING)
        latency = [
            row
            for number, (_, seconds) in values.items()
            for row in self.latency_rows(generation, number, seconds, shard=shard)
        ]
        write_table(self.folder.shard(generation, "latency", shard), [_timed(row) for row in latency], LATENCY)

    def finish(
        self, generation: int, values: dict[int, tuple[float | None, float]], cost: float = 0.0
    ) -> GenerationSummary:
        """Breeds, trains, measures and selects a generation."""
        self.breed(generation)
        for shard in range(2):
            members = {number: value for number, value in values.items() if number // PER_SHARD == shard}
            self.close(generation, members, shard, cost)
        return select_generation(self.folder, generation)

    def journal(self, stage: str, generation: int | None, shard: int) -> Journal:
        """The journal of a shard."""
        part = "promoted" if generation is None else f"generation={generation:03d}"
        path = self.folder.work(stage, part, f"shard={shard:03d}", "journal.jsonl")
        return self._journals.setdefault((stage, part, shard), Journal(path))

    def end(self) -> None:
        """Closes the journals."""
        for journal in self._journals.values():
            journal.close()

    def training_row(self, generation: int | None, candidate: int, bits: float | None, **row: Any) -> dict[str, Any]:
        """A row as it is in a journal."""
        how = {"status": "ok", "error": None} if bits is not None else {"status": "diverged", "error": "loss is nan"}
        values = {"val_bits_per_byte": bits, "seconds": 10.0, **how, **row}
        return {**_jsonable(blank(TRAINING)), **self._key(generation, candidate), **values}

    def latency_rows(self, generation: int | None, candidate: int, seconds: float, **row: Any) -> list[dict[str, Any]]:
        """Rows as they are in a journal: every mode, the objective's not first."""
        key = {**_jsonable(blank(LATENCY)), **self._key(generation, candidate), **row}
        modes = (("train", 3.0), ("prefill", 1.0), ("decode", 0.1))
        return [{**key, "mode": mode, "latency_seconds": seconds * factor} for mode, factor in modes]

    def _append(self, stage: str, generation: int | None, candidate: int, **record: Any) -> None:
        shard = candidate // PER_SHARD if generation is not None else 0
        key = f"{candidate:05d}-{self._key(generation, candidate)['architecture_id']}"
        key += "-r0" if stage == "training" else ""
        self.journal(stage, generation, shard).append({"key": key, **record})

    def _key(self, generation: int | None, candidate: int) -> dict[str, Any]:
        population = read_table(self.folder.population(generation), POPULATION)
        row = population.filter(pl.col("candidate") == candidate).row(0, named=True)
        return {name: row[name] for name in ("search", "generation", "candidate", "architecture_id")}


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in row.items()}


def _timed(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "started_at": datetime.fromisoformat(row["started_at"])}
