"""What the Snakefile asks of a configuration: names of files, in what order, with which parameters.

Imported each time the Snakefile is read, so nothing heavy is imported here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, Protocol

from harmony_core import stopping
from harmony_core.base import read_yaml
from harmony_core.errors import UserError
from harmony_core.evaluation.config import ExecutionConfig
from harmony_core.evaluator_rules import EvaluatorRules
from harmony_core.plugins import check_installed
from harmony_core.search.config import Config, SearchConfig
from harmony_core.store.folder import SEARCH_VARIABLE, SearchFolder
from harmony_core.workers.lease import Held, Lease, LeaseLost

RESULTS = Path("results")
# What this process has read, by its folder, for a Snakefile that has the workflow as a module.
_read: dict[str, Plan] = {}
# `harmony resume` sets it while it has files made again; nothing goes on from such a start later.
REMAKING_VARIABLE = "HARMONY_REMAKING"
# Snakemake's options that only look: they need no right to the search.
_LOOKING = {
    "-n", "--dry-run", "--dryrun", "--lint", "--report", "--dag", "--rulegraph", "--filegraph", "--d3dag", "-D",
    "--summary", "--detailed-summary", "-l", "--list", "--list-rules", "--list-target-rules", "--lc", "--list-changes",
    "--lu", "--list-untracked",
}  # fmt: skip


class Wildcards(Protocol):
    """The part of Snakemake's wildcards that is read here."""

    generation: str


@dataclasses.dataclass(frozen=True)
class Plan:
    """A search as the workflow sees it."""

    config: Config
    lease: Lease
    # A promotion that has grown since the search began writes these files at its end; they show that it is done.
    grown: tuple[str, ...] = ()

    @classmethod
    def read(cls, data: Mapping[str, Any], files: Sequence[Path | str] = ()) -> Plan:
        """Validates Snakemake's `config`; a mistake, or a change to an existing search, ends in one line.

        Args:
            data: what Snakemake made of the files and of --config.
            files: those that it read, of two equal keys in which it takes the last.
        """
        with refusing_bad_folders():
            for file in files:
                read_yaml(file)
            _check_goes_on(data)
            config = Config.parse(dict(data), "config")
            config.check_names()
            config = _with_asked_for(config)
            plan = cls(config, main_lease(SearchFolder(RESULTS / config.search.name)))
            plan._check_whole()
            plan = dataclasses.replace(plan, grown=plan._check_unchanged())
        # Each `use rule` of a Snakefile that has the workflow as a module reads it again.
        _read[plan.folder] = plan
        return plan

    def refuse_if_running(self) -> None:
        """Arguments as for `refuse_if_held`."""
        refuse_if_held(self.lease, self.folder)

    def say_missing(self) -> None:
        """Says which files of finished steps are gone: Snakemake does not look for what it needs no more."""
        if REMAKING_VARIABLE in os.environ or not (Path(self.folder) / "manifest.json").exists():
            return
        from harmony_core.store import missing_lines

        with refusing_bad_folders():
            for line in missing_lines(self.folder):
                print(line, file=sys.stderr)

    def _check_whole(self) -> None:
        """Refuses generations without a manifest: a new one would be newer, and they would all be made again."""
        folder = SearchFolder(self.folder)
        if folder.path.is_dir() and folder.generations():
            SearchFolder.find(folder.path)

    def _check_unchanged(self) -> tuple[str, ...]:
        """Refuses what an existing search may not change; answers with `grown`."""
        folder = SearchFolder(self.folder)
        if not folder.manifest.exists():
            from harmony_core.search.checking import check_space

            check_space(self.config)
            return ()
        from harmony_core.store.manifest import check_unchanged, read_manifest

        begun = Config.parse(read_manifest(folder.manifest).config)
        # Promotion may add candidates, and may not leave out those that it has promoted.
        promoted = folder.population(None).exists() and folder.config.exists()
        before = begun.renewed(Config.from_yaml(folder.config)) if promoted else begun
        now = self.config.resolved().without_more(before)
        if not promoted:
            # Nobody has been trained by what it says.
            now = now.model_copy(update={"promote": before.promote})
        check_unchanged(self.config.search.name, before.identity(), now.identity())
        more = self.config.promotes_more(begun)
        return () if more is None else (str(folder.grown_promotion(more)),)

    @property
    def folder(self) -> str:
        """Folder of the search."""
        return str(RESULTS / self.config.search.name)

    @property
    def generations(self) -> list[str]:
        """Wildcard values of all generations, ascending."""
        return [f"{index:03d}" for index in range(self.config.search.generations)]

    @property
    def evaluators(self) -> EvaluatorRules:
        """What the rules of the evaluators read and write."""
        return EvaluatorRules(self.config, self.folder)

    @property
    def last_selection(self) -> str:
        """The file that ends the search."""
        return self._selection(self.config.search.generations - 1)

    @property
    def promoted(self) -> list[str]:
        """What promotion writes; nothing where the configuration promotes nobody."""
        if self.config.promote.members == 0:
            return []
        return [f"{self.folder}/promoted/population.parquet", *self.evaluators.promoted, *self.grown]

    def ancestors(self, wildcards: Wildcards) -> list[str]:
        """What a generation is bred from: the selection `lag` + 1 back, and with all that is before it the history.

        A budget counts what is evaluated of that selection's survivors, so that has to be there too.
        """
        generation = int(wildcards.generation)
        parents = generation - 1 - self.config.search.lag
        previous = [f"{self.folder}/generation={generation - 1:03d}/population.parquet"] if generation else []
        if parents < 0:
            return previous
        return [*previous, self._selection(parents), *self.evaluators.shards("survivors", f"{parents:03d}")]

    def previous_selection(self, wildcards: Wildcards) -> list[str]:
        """The survivors that a selection merges with its generation."""
        generation = int(wildcards.generation)
        return [self._selection(generation - 1)] if generation else []

    @property
    def latency_is_predicted(self) -> bool:
        """Whether no device is needed to find latencies."""
        return self.config.latency.source != "measured"

    @staticmethod
    def all_cores(cores: int | None) -> int:
        """Every core of one machine; elsewhere the profile's resources say how many a job gets."""
        return cores or 1

    def training_threads(self, cores: int | None) -> int:
        """Cores of a training job on one machine."""
        return training_threads(self.config.execution, cores)

    def start(self) -> None:
        """Takes the search, and writes how it was started, for `harmony resume`, and its configuration.

        The steps read a file and get no parameter, since Snakemake takes a job with another parameter for
        another job: neither more generations nor more workers are a reason to do anything again.
        """
        take(self.lease, self.folder, self._record_start)

    def _record_start(self) -> None:
        from harmony_core.store import atomic_write

        folder = SearchFolder(self.folder)
        # This comes first: `harmony resume` needs no more than the record, wherever this process is killed.
        if REMAKING_VARIABLE not in os.environ:
            record_start(folder, sys.argv[1:], Path.cwd())
        text = json.dumps(self.config.model_dump(mode="json", exclude_defaults=True), indent=2)
        atomic_write(folder.config, text.encode() + b"\n")

    def end(self) -> None:
        """Gives the search back."""
        self.lease.release()

    def _selection(self, generation: int) -> str:
        return f"{self.folder}/generation={generation:03d}/selection.parquet"


def refuse_if_held(lease: Lease, folder: str) -> None:
    """Ends this process, in one line, where another one runs the search or sweep; looking is always allowed.

    Before Snakemake looks at its own lock, whose message advises to remove it.
    """
    if only_looks(sys.argv[1:]):
        return
    with refusing_bad_folders():
        held = lease.holder()
    if held is not None:
        _refuse(already_run(folder, held))


def take(lease: Lease, folder: str, record: Callable[[], None]) -> None:
    """Takes a search or sweep for this process; what Snakemake starts beside its jobs finds it by the environment.

    Args:
        lease: its.
        folder: its.
        record: writes how it was started, once it is taken.
    """
    try:
        with refusing_bad_folders():
            lease.acquire()
            record()
    except Held as held:
        _refuse(already_run(folder, held))
    os.environ[SEARCH_VARIABLE] = folder
    # Snakemake's scheduler runs by now, and has set its own handler of SIGTERM.
    stopping.hear_termination()


def training_threads(execution: ExecutionConfig, cores: int | None) -> int:
    """Cores of a training job on one machine: what its workers use, or all.

    Args:
        execution: says how many workers.
        cores: of the machine; None where the profile's resources say how many a job gets.
    """
    available = cores or 1
    if execution.workers is None:
        return available
    return min(available, execution.workers * execution.threads_per_candidate)


def start_searches() -> None:
    """For `onstart` of a Snakefile that uses the workflow as a module: Snakemake runs no module's own handlers."""
    for plan in _read.values():
        plan.start()


def end_searches() -> None:
    """For its `onsuccess` and `onerror`."""
    for plan in _read.values():
        plan.end()


def _check_goes_on(data: Mapping[str, Any]) -> None:
    """Refuses a search of another format, from one, or of what is not installed, before its configuration is read."""
    search = data.get("search", {})
    name = search.get("name", SearchConfig().name) if isinstance(search, Mapping) else None
    folder = SearchFolder(RESULTS / name) if isinstance(name, str) else None
    if folder is not None and folder.manifest.is_file():
        from harmony_core.store.manifest import read_manifest

        manifest = read_manifest(folder.manifest)
        manifest.check_may_measure(folder.path)
        for line in check_installed(manifest.plugins):
            print(line, file=sys.stderr)


def _with_asked_for(config: Config) -> Config:
    """With the candidates that `harmony promote` was asked for: no file of the user's names them."""
    folder = SearchFolder(RESULTS / config.search.name)
    if not (folder.manifest.is_file() and folder.config.is_file()):
        return config
    known = Config.from_yaml(folder.config).promote.candidates
    return config.model_copy(update={"promote": config.promote.with_candidates(known)}) if known else config


def only_looks(arguments: Sequence[str]) -> bool:
    """Whether Snakemake's arguments ask for a look; flags of one letter may be written together, as in `-np`."""
    return any(one in _LOOKING or re.fullmatch("-[A-Za-z]*n[A-Za-z]*", one) for one in arguments)


def record_start(folder: SearchFolder, arguments: Sequence[str], working_directory: Path) -> None:
    """Writes how a search was started, which `harmony resume` does again.

    Args:
        folder: the search's.
        arguments: of Snakemake's command line, without the program.
        working_directory: where it was called.
    """
    from harmony_core.store import atomic_write

    record = {"arguments": list(arguments), "folder": str(working_directory)}
    atomic_write(folder.main, json.dumps(record, indent=2).encode() + b"\n")


def main_lease(folder: SearchFolder) -> Lease:
    """The right to run a search; its holder ends at once if another host took it over.

    Ending at once is like a kill: what runs goes on, and belongs to the new holder.
    """

    def lost(reason: LeaseLost) -> None:
        print(f"error: {folder.name}: {reason}; this process ends", file=sys.stderr, flush=True)
        os._exit(1)

    return Lease(folder.work("main.lease"), on_lost=lost)


def already_run(search: str, held: Held) -> UserError:
    """What the second process of a search is told."""
    return UserError("search", search, f"already run by {held.holder}; wait for it, watch it, or end it there")


@contextmanager
def refusing_bad_folders() -> Iterator[None]:
    """Ends this process, in one line, where the search's folder cannot be read or written."""
    try:
        yield
    except UserError as error:
        _refuse(error)
    except OSError as error:
        fix = f"{error.strerror}; results/ must be a folder that you can write to"
        _refuse(UserError("search folder", error.filename or RESULTS, fix))


def _refuse(error: UserError) -> NoReturn:
    # An exception would become a traceback into the Snakefile; the person asked about a key of the configuration.
    for one in error.every:
        print(f"error: {one}", file=sys.stderr)
    raise SystemExit(UserError.EXIT_CODE) from None
