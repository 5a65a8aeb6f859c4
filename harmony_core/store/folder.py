"""Where every file of a search is."""

from __future__ import annotations

import re
from pathlib import Path

from harmony_core.errors import UserError

CONFIG_FILE = "work/config.json"
MAIN_FILE = "work/main.json"
# Set by a running search for what its executor starts beside the jobs.
SEARCH_VARIABLE = "HARMONY_SEARCH"


class SearchFolder:
    """Names the files of one search; touches none of them.

    Wherever a generation is asked for, None means what promotion trained (`promoted/`).

    Args:
        path: the search's folder, `results/<search>`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def find(cls, search: SearchFolder | Path | str) -> SearchFolder:
        """The folder of an existing search: a folder (`results/nano`), or a name under `results/`.

        Raises:
            UserError: there is no such search.
        """
        if isinstance(search, SearchFolder):
            return search
        for path in (Path(search), Path("results") / search):
            if (path / "manifest.json").is_file():
                return cls(path)
        known = sorted(path.parent.name for path in Path("results").glob("*/manifest.json"))
        there = f"results/ holds {', '.join(known)}" if known else "results/ holds none yet"
        raise UserError("search", search, f"no such search; name a folder with a manifest.json ({there})")

    def __repr__(self) -> str:
        return f"SearchFolder({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SearchFolder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def name(self) -> str:
        """The search's name."""
        return self.path.resolve().name

    @property
    def manifest(self) -> Path:
        """What the search is: configuration, versions, checksums."""
        return self.path / "manifest.json"

    @property
    def data(self) -> Path:
        """What the search is trained on: sources, splits, checksums."""
        return self.path / "data.json"

    @property
    def config(self) -> Path:
        """The configuration of the newest start; `manifest` holds the one that the search began with."""
        return self.path / CONFIG_FILE

    @property
    def main(self) -> Path:
        """Who runs the search, and with which command."""
        return self.path / MAIN_FILE

    @property
    def report(self) -> Path:
        """Folder of the report."""
        return self.path / "report"

    def work(self, *parts: str) -> Path:
        """A place for journals and logs, which the workflow does not own."""
        return self.path.joinpath("work", *parts)

    def generation(self, generation: int | None) -> Path:
        """Folder of a generation, or of what promotion trained."""
        return self.path / ("promoted" if generation is None else f"generation={generation:03d}")

    def population(self, generation: int | None) -> Path:
        """Who is trained."""
        return self.generation(generation) / "population.parquet"

    def ledger(self, generation: int | None) -> Path:
        """What was thrown away while the generation was made; what promotion left out."""
        return self.generation(generation) / "ledger.parquet"

    def selection(self, generation: int) -> Path:
        """Who survives."""
        return self.generation(generation) / "selection.parquet"

    def training(self, generation: int | None, shard: int) -> Path:
        """Results of training."""
        return self._shard(generation, "training", shard)

    def curves(self, generation: int | None, shard: int) -> Path:
        """Training step by step."""
        return self._shard(generation, "curves", shard)

    def latency(self, generation: int | None, shard: int) -> Path:
        """Results of the benchmark."""
        return self._shard(generation, "latency", shard)

    @property
    def all_weights(self) -> Path:
        """Where the promoted's last checkpoints are."""
        return self.generation(None) / "weights"

    def weights(self, architecture_id: str, candidate: int, replicate: int) -> Path:
        """Folder of a promoted candidate's last checkpoint."""
        return self.all_weights / f"{candidate:05d}-{architecture_id}-r{replicate}"

    def shards(self, generation: int | None, table: str) -> list[Path]:
        """The shards of `training`, `curves` or `latency` that are there, in order."""
        if generation is None:
            folders = _by_number(self.generation(None), "shard=*")
            return [path for path in (folder / f"{table}.parquet" for folder in folders) if path.is_file()]
        return _by_number(self.generation(generation) / table, "shard=*.parquet")

    def generations(self) -> list[int]:
        """The generations that have a folder, in order."""
        return [_number(path) for path in _by_number(self.path, "generation=*")]

    def _shard(self, generation: int | None, table: str, shard: int) -> Path:
        if generation is None:
            # Not in a folder named after the table, so that `**/training/*.parquet` is the search alone:
            # hive partitioning has no generation for the promoted, and their rows saw the test split.
            return self.generation(None) / f"shard={shard:03d}" / f"{table}.parquet"
        return self.generation(generation) / table / f"shard={shard:03d}.parquet"


def _number(path: Path) -> int:
    """The number in `generation=007` or `shard=007.parquet`; -1 if there is none."""
    match = re.fullmatch(r"[a-z]+=(\d+)(\.parquet)?", path.name)
    return int(match[1]) if match else -1


def _by_number(folder: Path, pattern: str) -> list[Path]:
    # By number and not by name: past 999 the names have another digit.
    return sorted((path for path in folder.glob(pattern) if _number(path) >= 0), key=_number)
