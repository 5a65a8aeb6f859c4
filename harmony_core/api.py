"""The Python face: a search begun from Python, and one that is there as Polars frames, architectures and models.

Under semantic versioning, as docs/python.md says. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harmony_core.base import digest

if TYPE_CHECKING:
    import polars as pl

    from harmony_core.architecture import Architecture
    from harmony_core.models import HybridLM
    from harmony_core.search.config import Config
    from harmony_core.store import SearchFolder


class SearchFailed(RuntimeError):
    """Snakemake ended with another exit code than 0; it has said why on standard error.

    Args:
        name: the search's.
        code: the exit code: 1, a step failed; 2, bad input; below 0, the signal that killed it.
    """

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"search {name}: Snakemake ended with exit code {code}")
        self.name, self.code = name, code


class OpenSearch:
    """A search that is there, finished or not; each call reads what is there by then.

    Args:
        folder: the search's.
    """

    def __init__(self, folder: SearchFolder) -> None:
        self._folder = folder

    def __repr__(self) -> str:
        return f"OpenSearch({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """Its folder."""
        return self._folder.path

    @property
    def name(self) -> str:
        """Its name."""
        return self._folder.name

    def config(self) -> Config:
        """Its configuration, with what the newest start has changed."""
        from harmony_core.search.settings import read_settings

        return read_settings(self._folder)[1]

    def candidates(self) -> pl.DataFrame:
        """Everybody who was bred, failures too, by generation and candidate: `results.measured` has the columns."""
        from harmony_core.results import measured
        from harmony_core.store import read_manifest
        from harmony_core.store.queries import population, viewed

        config = read_manifest(self._folder.manifest).config
        return measured(population(self._folder), viewed(self._folder, config), config).collect()

    def front(self) -> pl.DataFrame:
        """Those that no other beats in every objective, as `harmony pareto` has them: `results.front_again`."""
        from harmony_core.results import front_again

        return front_again(self._folder).sort("val_bits_per_byte", "generation", "candidate").collect()

    def promoted(self) -> pl.DataFrame:
        """What was trained again on fresh seeds and read on the test split: `results.promoted_results`."""
        from harmony_core.results import promoted_results

        return promoted_results(self._folder).collect()

    def curves(self, architecture_id: str | None = None, *, promoted: bool = False) -> pl.DataFrame:
        """Training step by step (`store.CURVES`).

        Args:
            architecture_id: of the one that is wanted, or its first digits; None is everybody.
            promoted: read what promotion trained, and not the generations.
        """
        import polars as pl

        from harmony_core.store import curves

        keep = None
        if architecture_id is not None:
            keep = pl.col("architecture_id") == self._row(architecture_id)["architecture_id"]
        return curves(self._folder, promoted, keep).collect()

    def lineage(self, architecture_id: str) -> pl.DataFrame:
        """One of them and all its ancestors, with `depth`: 0 for itself, 1 for parents.

        Args:
            architecture_id: an id, or its first digits.
        """
        from harmony_core.results import lineage

        return lineage(self._folder, self._row(architecture_id)["architecture_id"]).collect()

    def architecture(self, architecture_id: str) -> Architecture:
        """What one of them is.

        Args:
            architecture_id: an id, or its first digits.
        """
        from harmony_core.architecture import Architecture

        return Architecture.from_json(self._row(architecture_id)["architecture"])

    def trained_model(self, architecture_id: str, replicate: int = 0) -> HybridLM:
        """A promoted one as a PyTorch module with its trained weights, fp32 on the CPU.

        Args:
            architecture_id: an id, or its first digits.
            replicate: which of the trainings on other seeds.

        Raises:
            UserError: it was not promoted, or its weights were not kept.
        """
        from harmony_core.cli.export import find_trained
        from harmony_core.training.trained import load_trained

        return load_trained(find_trained(architecture_id, self.path, replicate).checkpoints)

    def export(self, architecture_id: str, out: Path | str, replicate: int = 0) -> str:
        """Writes a promoted one as a folder that `transformers` opens, as `harmony export` does; needs the extra `hf`.

        Args:
            architecture_id: an id, or its first digits.
            out: a new folder, or an empty one.
            replicate: which of the trainings on other seeds.

        Returns:
            The family in whose class it opens; `harmony` is one that comes with the folder (`trust_remote_code`).
        """
        from harmony_core.cli.export import export_trained, find_trained

        return export_trained(find_trained(architecture_id, self.path, replicate), Path(out)).kind

    def _row(self, architecture_id: str) -> dict[str, Any]:
        from harmony_core.cli.candidate import find_candidate

        return find_candidate(architecture_id, self.path)[1]


def open_search(path: Path | str) -> OpenSearch:
    """A search by its folder, or by its name under `results/`.

    Raises:
        UserError: there is none.
    """
    from harmony_core.store import SearchFolder

    return OpenSearch(SearchFolder.find(Path(path)))


def run_search(
    config: Path | str | Mapping[str, Any] | Config,
    *settings: str,
    profile: str | None = None,
    options: Sequence[str] = (),
) -> OpenSearch:
    """Runs a search in this folder, as `harmony search` does, and waits for its end; `harmony_core.search` by name.

    Where `results/NAME` is there already it goes on with that. Ctrl-C stops the search, which can be gone on with.

    Args:
        config: a configuration's file, what one holds, or a `Config`.
        settings: `NAME=VALUE` each, such as `search.generations=3`, in place of what the configuration says.
        profile: a Snakemake profile, as for `harmony search`.
        options: further options of Snakemake's.

    Raises:
        UserError: bad input; of a configuration all mistakes.
        SearchFailed: Snakemake did not end well.
    """
    from harmony_core.cli.search import prepared
    from harmony_core.cli.set_option import changes
    from harmony_core.search.checking import read_checked

    path = Path(config) if isinstance(config, Path | str) else _written(config)
    arguments = prepared(path, settings, profile, options)
    name = read_checked(path, changes(settings)).search.name
    process = subprocess.Popen([sys.executable, "-m", "snakemake", *arguments])
    try:
        code = process.wait()
    except KeyboardInterrupt:
        # Ctrl-C goes to Snakemake too, which ends its jobs and says how to go on.
        process.wait()
        raise
    if code:
        raise SearchFailed(name, code)
    return open_search(Path("results") / name)


def _written(config: Mapping[str, Any] | Config) -> Path:
    """A file of a configuration that has none, in the search's own folder: `harmony resume` reads it again."""
    from harmony_core.atomic import atomic_write
    from harmony_core.search.config import Config
    from harmony_core.store import SearchFolder
    from harmony_core.workflow import RESULTS

    read = config if isinstance(config, Config) else Config.parse(dict(config), "config")
    data = read.model_dump(mode="json", exclude_defaults=True)
    # Its name follows from what it holds, so that what another start was given stays.
    path = SearchFolder(RESULTS / read.search.name).work(f"given-{digest(data)}.yaml")
    atomic_write(path, json.dumps(data, indent=2).encode() + b"\n")
    return path
