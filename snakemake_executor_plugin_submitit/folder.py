"""Names of all files of the executor's folder, and how they are written."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Folder:
    """The executor's folder on the shared file system."""

    root: Path

    @property
    def journal(self) -> Path:
        """What was submitted, by all Snakemake processes."""
        return self.root / "journal.jsonl"

    @property
    def submitit(self) -> Path:
        """Folder pattern of submitit: scripts, pickles and its own logs, one folder a scheduler job."""
        return self.root / "jobs" / "%j"

    @property
    def states(self) -> Path:
        """Folder of state files."""
        return self.root / "state"

    @property
    def pilot(self) -> Path:
        """Folder of the standing allocation."""
        return self.root / "pilot"

    def state(self, key: str, attempt: int) -> Path:
        """How an attempt ended; absent as long as it has not."""
        return self.states / f"{key}.{attempt}.json"

    def log(self, name: str, key: str, attempt: int) -> Path:
        """What the command printed."""
        return self.root / "logs" / f"{name}.{key}.{attempt}.log"

    def make(self) -> None:
        """Make the folder, and find out whether it can be written to.

        Raises:
            OSError: It cannot.
        """
        for path in (self.states, self.root / "logs", self.root / "jobs"):
            path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self.root) as probe:
            probe.write(b"writable")
            os.fsync(probe.fileno())


def write_json(path: Path, content: Any) -> None:
    """Write atomically: a reader sees all of it or nothing."""
    _write(path, content, os.replace)


def write_json_once(path: Path, content: Any) -> bool:
    """Write atomically unless the file exists: of several writers, also on several hosts, the first one wins.

    Returns:
        Whether this call wrote it.
    """
    try:
        _write(path, content, os.link)
    except FileExistsError:
        return False
    return True


def read_json(path: Path) -> Any | None:
    """Content of a JSON file, None where there is none."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None


def find_state(folder: Folder, key: str, attempt: int) -> dict[str, Any] | None:
    """How an attempt ended, None if it has not."""
    state = read_json(folder.state(key, attempt))
    assert state is None or isinstance(state, dict)
    return state


def _write(path: Path, content: Any, publish: Any) -> None:
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
