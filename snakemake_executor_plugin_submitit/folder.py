"""Names of all files of the executor's folder, and how they are written and read."""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .shared_files import check_own, make_own, patiently, read_own


@dataclass(frozen=True)
class Folder:
    """The executor's folder on the shared file system."""

    root: Path

    @property
    def journal(self) -> Path:
        """What was submitted, by all Snakemake processes."""
        return self.root / "journal.jsonl"

    @property
    def jobs(self) -> Path:
        """Folder of submitit's files, one folder a submission."""
        return self.root / "jobs"

    def submission(self, tag: str) -> Path:
        """Folder of a submission: its script, and submitit's files of its jobs."""
        return self.jobs / tag

    def submitit(self, tag: str) -> Path:
        """Folder pattern of submitit: pickle and its own logs, one folder a scheduler job.

        Below its submission's, since an id may come again: of a process, or of a job where Slurm was set up anew.
        """
        return self.submission(tag) / "%j"

    @property
    def states(self) -> Path:
        """Folder of state files."""
        return self.root / "state"

    @property
    def logs(self) -> Path:
        """Folder of what commands print."""
        return self.root / "logs"

    @property
    def pilot(self) -> Path:
        """Folder of the standing allocation."""
        return self.root / "pilot"

    def state(self, key: str, attempt: int) -> Path:
        """How an attempt ended; absent as long as it has not."""
        return self.states / f"{key}.{attempt}.json"

    def log(self, name: str, key: str, attempt: int) -> Path:
        """What the command printed.

        Args:
            name: Of the rule and wildcards, for people.
            key: Of the work.
            attempt: Its number, from 1.
        """
        return self.logs / f"{name}.{key}.{attempt}.log"

    def make(self) -> None:
        """Make the folder for its owner alone, and find out whether it can be written to.

        Raises:
            OSError: It cannot.
            NotOurs: It is somebody else's, or holds other files, which others may be meant to see.
        """
        make_own(self.root)
        if self._is_executors():
            # An earlier version made the folder as the umask was.
            self.root.chmod(0o700)
        self.check()
        self.make_parts()
        with tempfile.TemporaryFile(dir=self.root) as probe:
            probe.write(b"writable")
            os.fsync(probe.fileno())

    def make_parts(self) -> list[Path]:
        """Make the folders that are not there; returns those that were missing."""
        missing = [path for path in (self.states, self.logs, self.jobs) if not path.is_dir()]
        for path in missing:
            make_own(path)
        return missing

    def check(self) -> None:
        """See to it that nobody else can have put anything here.

        Raises:
            NotOurs: Somebody can.
        """
        check_own(self.root)

    def _is_executors(self) -> bool:
        """Whether all in it is the executor's: closing it keeps nobody from anything else."""
        if self.root.stat().st_uid != os.geteuid():
            return False
        return self.journal.exists() or set(os.listdir(self.root)) <= {"state", "logs", "jobs", "pilot"}


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a reader sees all of it or nothing."""
    patiently(lambda: _write(path, content, os.replace))


def write_json_once(path: Path, content: Any) -> bool:
    """Write atomically unless the file exists: of several writers, also on several hosts, the first one wins.

    Returns:
        Whether this call wrote it.
    """
    try:
        patiently(lambda: _write(path, content, os.link))
    except FileExistsError:
        return False
    return True


def read_json(path: Path) -> Any | None:
    """Content of a JSON file; None where there is none, or where it says nothing.

    Raises:
        NotOurs: Somebody else can have written it.
    """
    try:
        return parse_json(read_own(path))
    except FileNotFoundError:
        return None


def parse_json(content: bytes) -> Any | None:
    """A JSON text's content, None for what is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def find_state(folder: Folder, key: str, attempt: int) -> dict[str, Any] | None:
    """How an attempt ended, None if it has not, or if its state file says nothing.

    Args:
        folder: The executor's.
        key: Of the work.
        attempt: Its number, from 1.
    """
    return parse_state(read_json(folder.state(key, attempt)))


def parse_state(content: object) -> dict[str, Any] | None:
    """What a state file says, as fields of :class:`.backend.Done`; None if that is not how an attempt ended."""
    texts, numbers = ("host", "job_id", "tail"), ("rc", "seconds")
    if not isinstance(content, dict) or not {"rc"} <= content.keys() <= {*texts, *numbers}:
        return None
    if not isinstance(content["rc"], int) or not isinstance(content.get("seconds", 0), int | float):
        return None
    return content if all(isinstance(content.get(name, ""), str) for name in texts) else None


def _write(path: Path, content: Any, publish: Callable[[str, Path], None]) -> None:
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except FileNotFoundError:
        # Somebody removed the folder under a running process; what this process knows is still worth keeping.
        make_own(path.parent)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(content, file)
            file.flush()
            os.fsync(file.fileno())
        publish(name, path)
    finally:
        if os.path.exists(name):
            os.unlink(name)
