"""How a search was started: Snakemake's arguments and its working directory; in another place, what they are there."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from harmony_core.atomic import atomic_write
from harmony_core.errors import UserError
from harmony_core.evaluation.config import PromoteConfig
from harmony_core.resources import INSTALLED, ROOT, shipped
from harmony_core.search.config import Config
from harmony_core.store import SearchFolder, read_manifest, stages
from harmony_core.workers.lease import BEAT_SECONDS
from harmony_core.workflow import RESULTS

# A holder touches its lease every beat. One beat may be late.
_WATCHED_SECONDS = 3 * BEAT_SECONDS


@dataclasses.dataclass(frozen=True)
class Start:
    """What `harmony resume` runs.

    Args:
        folder: Snakemake's working directory, in which the search is `results/NAME`.
        arguments: Snakemake's.
        name: the search's, by its configuration.
    """

    folder: Path
    arguments: tuple[str, ...]
    name: str

    @property
    def search(self) -> Path:
        """Where the search ran."""
        return self.folder / RESULTS / self.name

    def is_of(self, folder: SearchFolder) -> bool:
        """Whether `folder` is the one that was started, by whatever path, and not a copy of it."""
        try:
            return os.path.samefile(self.search, folder.path)
        except OSError:
            return False

    def elsewhere(self, folder: SearchFolder) -> str:
        """What is told of a search that was copied or moved."""
        return f"it ran as {self.search}, and would go on there; `harmony resume {folder.path} --adopt` goes on here"

    def with_options(self, *options: str) -> list[str]:
        """The arguments and some more options, of which Snakemake takes the last where one is there twice."""
        end = self.arguments.index("--") if "--" in self.arguments else len(self.arguments)
        return [*self.arguments[:end], *options, *self.arguments[end:]]

    def with_targets(self, targets: Sequence[str]) -> list[str]:
        """The arguments and the files that are to be made."""
        return [*self.arguments, *([] if "--" in self.arguments else ["--"]), *targets]

    def with_profile(self, profile: str) -> Start:
        """The same with another profile: a folder, or a name in `profiles/` of the installation."""
        given = next((path for path in (self.folder / profile, ROOT / "profiles" / profile) if path.exists()), "")
        options = ("--profile", str(given or profile))
        return dataclasses.replace(self, arguments=tuple(self.with_options(*options)))


def recorded(folder: SearchFolder) -> Start:
    """Reads `work/main.json` (`harmony_core.workflow.Plan.start`).

    Raises:
        UserError: it is damaged.
    """
    try:
        record = json.loads(folder.main.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        record = None
    if isinstance(record, dict):
        place, arguments = record.get("folder"), record.get("arguments")
        if isinstance(arguments, list) and all(_is_argument(text) for text in [place, *arguments]):
            # The configuration gives the name: the folder of a copy may have another one.
            name = Config.from_yaml(folder.config).search.name if folder.config.is_file() else folder.name
            return Start(Path(str(place)), tuple(_of_this_installation(text) for text in arguments), name)
    raise UserError(str(folder.main), "damaged", "start again with snakemake --profile and --unlock")


def adopted(folder: SearchFolder, old: Start) -> Start:
    """Ties a search that was copied or moved to where it is now.

    Its configuration goes along in full, times of files that a copy has mixed up are put in order, and the leases of
    those who worked on the original are dropped.

    Raises:
        UserError: it is not `results/NAME` of any folder, or somebody works on it.
    """
    path = Path(os.path.abspath(folder.path))
    if path.parent.name != RESULTS.name or path.name != old.name:
        fix = f"a search keeps its name; put it into a folder as {RESULTS}/{old.name}"
        raise UserError("search", f"{path}, which ran as {old.search}", fix)
    leases = [lease for lease in folder.work().rglob("*lease") if lease.is_dir()]
    if _are_touched(leases):
        raise UserError("search", f"{path}, which ran as {old.search}", "somebody works on it; wait, or end that first")
    for lease in leases:
        shutil.rmtree(lease)
    root = path.parents[1]
    moved = dataclasses.replace(
        old, folder=root, arguments=tuple(_moved(text, str(old.folder), str(root)) for text in old.arguments)
    )
    _put_times_in_order(folder)
    return _self_contained(folder, moved)


def anew(folder: SearchFolder) -> Start:
    """A search of which nobody knows how it was started goes on with what its manifest says.

    Raises:
        UserError: it does not lie in `results/`.
    """
    path = Path(os.path.abspath(folder.path))
    name = read_manifest(folder.manifest).config["search"]["name"]
    if path.parent.name != RESULTS.name or path.name != name:
        raise UserError("search", path, f"put it into a folder as {RESULTS}/{name}")
    return _self_contained(folder, Start(path.parents[1], (), name))


def promoting(folder: SearchFolder, start: Start, promote: PromoteConfig) -> Start:
    """Lets the search go on with another promotion.

    Args:
        folder: the search's.
        start: how it was started.
        promote: what its promotion is from now on.
    """
    return _self_contained(folder, start, promote)


def _self_contained(folder: SearchFolder, start: Start, promote: PromoteConfig | None = None) -> Start:
    """Lets the search read its own configuration, and the workflow of this installation where it has none."""
    if not folder.manifest.is_file():
        # A search without a manifest has done nothing that could be lost.
        raise UserError("search", folder.path, "it has no manifest yet; start it anew with snakemake --profile")
    config = Config.parse(read_manifest(folder.manifest).config)
    if folder.config.is_file():
        config = config.renewed(Config.from_yaml(folder.config))
    search = config.search.model_copy(
        update={"generations": max([config.search.generations, *(one + 1 for one in folder.generations())])}
    )
    changed = {"search": search} if promote is None else {"search": search, "promote": promote}
    told = config.model_copy(update=changed).model_dump(mode="json", exclude_defaults=True)
    atomic_write(folder.config, json.dumps(told, indent=2).encode() + b"\n")
    # What the command line gave of the configuration is in the file too, and would win over it.
    given = ["--config"] if any(text in ("--config", "-C") for text in start.arguments) else []
    options = [*given, "--configfile", str(RESULTS / start.name / folder.config.relative_to(folder.path))]
    own = any(text in ("-s", "--snakefile") or text.startswith("--snakefile=") for text in start.arguments)
    if not own and not (start.folder / "Snakefile").exists():
        options += ["--snakefile", str(shipped("Snakefile"))]
    return dataclasses.replace(start, arguments=tuple(start.with_options(*options)))


def _put_times_in_order(folder: SearchFolder) -> None:
    """Makes no file older than what it was made from: `cp -r` gives all of them the time of the copy, in any order."""
    if not folder.manifest.is_file():
        return
    mixed_up = False
    for stage in stages(folder):
        newest = max((path.stat().st_mtime_ns for path in stage.inputs if path.exists()), default=0)
        outdated = [path for path in stage.made if path.is_file() and path.stat().st_mtime_ns < newest]
        if outdated:
            stage.settle_times(outdated)
            mixed_up = True
    if mixed_up:
        # Promotion and report come last. Nobody can tell any more whether they were made before the last generations.
        now = max(path.stat().st_mtime_ns for path in folder.path.rglob("*.parquet"))
        for path in [*folder.generation(None).rglob("*.parquet"), folder.report / "index.html"]:
            if path.is_file():
                os.utime(path, ns=(now, now))


def _moved(text: str, old: str, new: str) -> str:
    """An argument whose path, if it lies in the old folder, lies in the new one."""
    option, equals, value = text.partition("=") if text.startswith("--") else ("", "", text)
    if value == old or value.startswith(f"{old}/"):
        value = new + value[len(old) :]
    return f"{option}{equals}{value}"


def _of_this_installation(text: str) -> str:
    """An argument that names a file of an installed HARMONY: where that is gone, the same of this one."""
    before, inside, file = text.partition(f"{INSTALLED}/")
    if not inside or Path(f"{before.rpartition('=')[2]}{inside}{file}").exists() or not (ROOT / file).exists():
        return text
    option = before.rpartition("=")[0]
    return f"{option}={ROOT / file}" if option else str(ROOT / file)


def _are_touched(leases: Sequence[Path]) -> bool:
    """Whether somebody who lives holds any of them; by their files alone, since a copied one names a stranger."""
    held = [path for lease in leases for path in lease.glob("*.json")]
    before = {path: path.stat().st_mtime_ns for path in held}
    deadline = time.monotonic() + _WATCHED_SECONDS
    while held and time.monotonic() < deadline:
        # A shared file system reports no changes, so this asks for the time of each file.
        time.sleep(BEAT_SECONDS / 4)
        if any(not path.exists() or path.stat().st_mtime_ns != before[path] for path in held):
            return True
    return False


def _is_argument(value: object) -> bool:
    """Whether it can be given to a process."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        os.fsencode(value)
    except UnicodeEncodeError:
        return False
    return True
