"""Where every file of a search is."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.store.run import Run

CONFIG_FILE = "work/config.json"
MAIN_FILE = "work/main.json"
# What an IsoFLOP sweep has in its place: its configuration, as of the newest start.
SWEEP_FILE = "work/sweep.json"
# A running search sets it for what its executor starts beside the jobs.
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
            if cls(path).migration.is_file():
                fix = "`harmony migrate` with the same two folders again goes on with it"
                raise UserError(str(path), "half migrated", fix)
            if cls(path).generations():
                fix = "restore it: it says what the search is, and is not made again"
                raise UserError(str(path / "manifest.json"), "missing", fix)
        known = [one.path.name for one in cls.all()]
        there = f"results/ holds {', '.join(known)}" if known else "results/ holds none yet"
        raise UserError("search", search, f"no such search; name a folder with a manifest.json ({there})")

    @classmethod
    def all(cls) -> list[SearchFolder]:
        """Every search under `results/` by name, and every folder there that nobody may look into."""
        return [cls(path) for path in _entries(Path("results")) if _may_be_file(path / "manifest.json")]

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
    def migration(self) -> Path:
        """Whose migration into this folder is not over; absent in every search that is whole."""
        return self.path / "migration.json"

    @property
    def data(self) -> Path:
        """What the search is trained on: sources, splits, checksums."""
        return self.path / "data.json"

    @property
    def frame(self) -> Path:
        """Where its hypervolume is measured, if the first generation had to say; the manifest holds it otherwise."""
        return self.path / "frame.yaml"

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

    @property
    def waiting(self) -> Path:
        """What jobs wait for in a cluster's queue, in words; absent where none does."""
        return self.work("waiting.txt")

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

    def shard(self, generation: int | None, table: str, shard: int) -> Path:
        """A shard of an evaluator's table, or of one beside it.

        Args:
            generation: None is promotion.
            table: its name: `training`, `latency`, `curves`, ...
            shard: its number, from 0.
        """
        if generation is None:
            # The folder is not named after the table, so that `**/training/*.parquet` is the search alone: hive
            # partitioning has no generation for the promoted, and their rows saw the test split.
            return self.generation(None) / f"shard={shard:03d}" / f"{table}.parquet"
        return self.generation(generation) / table / f"shard={shard:03d}.parquet"

    def grown_promotion(self, digest: str) -> Path:
        """Says that a promotion of more than the search began with has ended; `digest` is of what it was asked for."""
        return self.generation(None) / "grown" / f"{digest}.json"

    @property
    def all_weights(self) -> Path:
        """Where the promoted's last checkpoints are."""
        return self.generation(None) / "weights"

    def weights(self, architecture_id: str, candidate: int, run: Run) -> Path:
        """Folder of the last checkpoint of a promoted candidate's run.

        Args:
            architecture_id: the candidate's.
            candidate: its number among the promoted.
            run: the replicate and learning rate that it was trained with.
        """
        return self.all_weights / run.name(architecture_id, candidate)

    def shards(self, generation: int | None, table: str) -> list[Path]:
        """The shards of a table that are there, in order."""
        if generation is None:
            folders = _by_number(self.generation(None), "shard=*")
            return [path for path in (folder / f"{table}.parquet" for folder in folders) if path.is_file()]
        return _by_number(self.generation(generation) / table, "shard=*.parquet")

    def generations(self) -> list[int]:
        """The generations that have a folder, in order."""
        return [_number(path) for path in _by_number(self.path, "generation=*")]


def _number(path: Path) -> int:
    """The number in `generation=007` or `shard=007.parquet`; -1 if there is none."""
    match = re.fullmatch(r"[a-z]+=(\d+)(\.parquet)?", path.name)
    return int(match[1]) if match else -1


def _by_number(folder: Path, pattern: str) -> list[Path]:
    # This sorts by number and not by name: past 999 the names have one more digit.
    found = (path for path in _entries(folder) if fnmatch.fnmatchcase(path.name, pattern))
    return sorted((path for path in found if _number(path) >= 0), key=_number)


def _entries(folder: Path) -> list[Path]:
    """What is in a folder, nothing where there is none; `glob` takes an unreadable folder for an empty one."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _may_be_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:
        return True
