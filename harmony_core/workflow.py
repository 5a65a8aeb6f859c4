"""What the Snakefile asks of a configuration: names of files, in what order, with which parameters.

Imported each time the Snakefile is read, so nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from harmony_core.config import Config
from harmony_core.errors import UserError
from harmony_core.store.folder import CONFIG_FILE

RESULTS = Path("results")


class Wildcards(Protocol):
    """The part of Snakemake's wildcards that is read here."""

    generation: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A search as the workflow sees it."""

    config: Config

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Plan:
        """Validates Snakemake's `config`; a mistake, or a change to an existing search, ends in one line."""
        try:
            plan = cls(Config.parse(dict(data), "config"))
            plan.config.check_names()
            plan._check_unchanged()
        except UserError as error:
            # Snakemake would print a traceback into the Snakefile; the person asked about a key.
            print(f"error: {error}", file=sys.stderr)
            raise SystemExit(UserError.EXIT_CODE) from None
        return plan

    def _check_unchanged(self) -> None:
        path = Path(self.folder) / "manifest.json"
        if path.exists():
            from harmony_core.store.manifest import check_unchanged, read_manifest

            before = Config.parse(read_manifest(path).config)
            check_unchanged(self.config.search.name, before.identity(), self.config.resolved().identity())

    @property
    def folder(self) -> str:
        """Folder of the search."""
        return str(RESULTS / self.config.search.name)

    @property
    def generations(self) -> list[str]:
        """Wildcard values of all generations, ascending."""
        return [f"{index:03d}" for index in range(self.config.search.generations)]

    @property
    def shards(self) -> list[str]:
        """Wildcard values of a generation's shards."""
        return [f"{index:03d}" for index in range(self.config.num_shards())]

    @property
    def last_selection(self) -> str:
        """The file that ends the search."""
        return self._selection(self.config.search.generations - 1)

    @property
    def promoted(self) -> list[str]:
        """What promotion writes; nothing where the configuration promotes nobody."""
        if self.config.promote.top_k == 0 and not self.config.promote.baselines:
            return []
        tables = ("population", "shard=000/training", "shard=000/curves", "shard=000/latency")
        return [f"{self.folder}/promoted/{table}.parquet" for table in tables]

    def ancestors(self, wildcards: Wildcards) -> list[str]:
        """What a generation is bred from: the selection `lag` + 1 back, and every earlier population as history."""
        generation = int(wildcards.generation)
        parents = generation - 1 - self.config.search.lag
        previous = [f"{self.folder}/generation={generation - 1:03d}/population.parquet"] if generation else []
        return previous + ([self._selection(parents)] if parents >= 0 else [])

    def previous_selection(self, wildcards: Wildcards) -> list[str]:
        """The survivors that a selection merges with its generation."""
        generation = int(wildcards.generation)
        return [self._selection(generation - 1)] if generation else []

    def training_threads(self, cores: int | None) -> int:
        """Cores of a training job: what its workers use, or all."""
        execution = self.config.execution
        available = cores or 1
        if execution.workers is None:
            return available
        return min(available, execution.workers * execution.threads_per_candidate)

    def record_start(self) -> None:
        """Writes who runs the search, for `harmony resume`, and the configuration, for the steps.

        The steps read a file and get no parameter, since Snakemake takes a job with another parameter for
        another job: neither more generations nor more workers are a reason to do anything again.
        """
        from harmony_core.cli.resume import record_main
        from harmony_core.store import atomic_write

        record_main(Path(self.folder))
        text = json.dumps(self.config.model_dump(mode="json", exclude_defaults=True), indent=2)
        atomic_write(Path(self.folder) / CONFIG_FILE, text.encode() + b"\n")

    def _selection(self, generation: int) -> str:
        return f"{self.folder}/generation={generation:03d}/selection.parquet"
