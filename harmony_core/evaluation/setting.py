"""What every step of a search begins with: its folder, its manifest, and the configuration in force."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

from harmony_core.config import Config
from harmony_core.store import Manifest, SearchFolder, read_manifest
from harmony_core.training.recipe import Recipe, ResolvedPrecision


@dataclasses.dataclass(frozen=True)
class Setting:
    """A prepared search."""

    folder: SearchFolder
    manifest: Manifest
    config: Config

    @classmethod
    def open(cls, path: Path, execution: str | None = None) -> Setting:
        """Reads the manifest of the search in `path`; a search that was not prepared is a UserError.

        Args:
            path: folder of the search.
            execution: JSON of the execution section in force, which may change within a search.
        """
        folder = SearchFolder(path)
        manifest = read_manifest(folder.manifest)
        data = dict(manifest.config)
        if execution is not None:
            data["execution"] = json.loads(execution)
        return cls(folder, manifest, Config.parse(data))

    @property
    def recipe(self) -> Recipe:
        """The recipe with its precision resolved."""
        return self.config.recipe.model_copy(update={"precision": self.precision})

    @property
    def precision(self) -> ResolvedPrecision:
        """What `precision: auto` was resolved to when the search began."""
        return "bf16" if self.manifest.precision == "bf16" else "fp32"

    @property
    def data_folder(self) -> Path:
        """Where the prepared tokens lie: `data/` beside `results/`."""
        return self.folder.path.parent.parent / "data" / str(self.manifest.data["id"])

    def work(self, stage: str, generation: int | None, shard: int) -> Path:
        """Folder of a shard's journal, lock and logs."""
        part = "promoted" if generation is None else f"generation={generation:03d}"
        return self.folder.work(stage, part, f"shard={shard:03d}")
