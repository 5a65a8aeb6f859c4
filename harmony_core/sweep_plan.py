"""What the Snakefile of a sweep asks of its configuration, as `harmony_core.workflow` is asked for a search's.

Imported each time that Snakefile is read, so nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harmony_core.base import read_yaml
from harmony_core.scaling.config import IsoflopConfig
from harmony_core.store.folder import SWEEP_FILE, SearchFolder
from harmony_core.workers.lease import Lease
from harmony_core.workflow import RESULTS, main_lease, refuse_if_held, refusing_bad_folders, take, training_threads


@dataclasses.dataclass(frozen=True)
class SweepPlan:
    """A sweep as the workflow sees it."""

    config: IsoflopConfig
    lease: Lease

    @classmethod
    def read(cls, data: Mapping[str, Any], files: Sequence[Path | str] = ()) -> SweepPlan:
        """Validates Snakemake's `config`; a mistake, or a change to a sweep that has begun, ends in one line.

        Args:
            data: what Snakemake made of the files and of --config.
            files: those that it read, of two equal keys in which it takes the last.
        """
        with refusing_bad_folders():
            for file in files:
                read_yaml(file)
            config = IsoflopConfig.parse(dict(data), "config")
            folder = RESULTS / config.name
            if folder.exists():
                from harmony_core.scaling.sweep import check_begun

                check_begun(config, folder)
            return cls(config, main_lease(SearchFolder(folder)))

    @property
    def folder(self) -> str:
        """Folder of the sweep."""
        return str(RESULTS / self.config.name)

    @property
    def rounds(self) -> str:
        """The file that says that so many rounds are done: a sweep that may have more of them goes on."""
        return f"{self.folder}/rounds/{self.config.rounds}.json"

    def refuse_if_running(self) -> None:
        """Arguments as for `refuse_if_held`."""
        refuse_if_held(self.lease, self.folder)

    def training_threads(self, cores: int | None) -> int:
        """Cores of its trainings on one machine."""
        return training_threads(self.config.execution, cores)

    def start(self) -> None:
        """Takes the sweep, and writes its configuration, which the steps read."""
        take(self.lease, self.folder, self._record)

    def end(self) -> None:
        """Gives the sweep back."""
        self.lease.release()

    def _record(self) -> None:
        from harmony_core.store import atomic_write

        text = json.dumps(self.config.model_dump(mode="json", exclude_defaults=True), indent=2)
        atomic_write(Path(self.folder) / SWEEP_FILE, text.encode() + b"\n")
