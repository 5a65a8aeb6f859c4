"""What every step of a search begins with: its folder, its manifest, and the configuration in force."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from harmony_core.data import Split, TokenDataset, prepare
from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig
from harmony_core.search.config import Config
from harmony_core.search.settings import read_settings
from harmony_core.store import Manifest, SearchFolder
from harmony_core.training.recipe import Recipe, ResolvedPrecision


@dataclasses.dataclass(frozen=True)
class OpenedSearch:
    """A prepared search."""

    folder: SearchFolder
    manifest: Manifest
    config: Config

    @classmethod
    def open(cls, path: Path) -> OpenedSearch:
        """Reads the manifest of the search in `path`.

        What may change within a search is that of the newest start.

        Raises:
            UserError: the search was not prepared, or nothing more is measured in it (`Manifest.check_may_measure`).
        """
        folder = SearchFolder(path)
        manifest, config = read_settings(folder)
        manifest.check_may_measure(path)
        return cls(folder, manifest, config)

    @property
    def recipe(self) -> Recipe:
        """The recipe with its precision resolved."""
        return self.config.recipe.model_copy(update={"precision": self.precision})

    @property
    def precision(self) -> ResolvedPrecision:
        """What `precision: auto` was resolved to when the search began."""
        return "bf16" if self.manifest.precision == "bf16" else "fp32"

    @property
    def execution(self) -> ExecutionConfig:
        """How candidates run."""
        return self.config.execution

    @property
    def device_lock(self) -> Path:
        """Shared by trainings, held alone by measurements."""
        return self.folder.work("device.lock")

    def queue_order(self, generation: int) -> int:
        """Where a generation stands in an allocation's queue."""
        return generation_order(generation, self.config.search.generations, self.config.search.lag)

    @property
    def data_root(self) -> Path:
        """Where prepared data of all searches lies: `data/` beside `results/`."""
        return self.folder.path.parent.parent / "data"

    @property
    def data_folder(self) -> Path:
        """Where the search's tokens lie."""
        return self.data_root / str(self.manifest.data["id"])

    def work(self, stage: str, generation: int | None, shard: int) -> Path:
        """Folder of a shard's journal, lock and logs.

        Args:
            stage: an evaluator's name, such as `training`.
            generation: None is promotion.
            shard: its number, from 0.
        """
        part = "promoted" if generation is None else f"generation={generation:03d}"
        return self.folder.work(stage, part, f"shard={shard:03d}")

    def check_data(self, splits: Iterable[Split]) -> None:
        """Reads the checksums of some splits, having made the data again if its folder is gone.

        Raises:
            UserError: a damaged file, or data that is not what the search began with.
        """
        if not self.data_folder.exists():
            prepare(self.config.data, self.data_root)
        for split in splits:
            found = TokenDataset(self.data_folder, split, verify=True).manifest
            if found.checksum != self.manifest.data["checksum"]:
                fix = f"the search began with {self.manifest.data['source']} of another checksum; restore the folder"
                raise UserError(str(self.data_folder), f"{found.source}, checksum {found.checksum}", fix)


def generation_order(generation: int, generations: int, lag: int) -> int:
    """Where a generation stands in an allocation's queue: older ones first, since others wait to be bred from them.

    Nobody is bred from the last ones, which so are one pool, longest first: a candidate that takes longer than was
    expected begins earlier, and fewer devices wait for it at the end. No result hangs on the order.

    Args:
        generation: its number.
        generations: of the search.
        lag: generation g is bred from g - 1 - lag.
    """
    return max(0, min(generation, generations - 1 - lag))
