"""What is left in the executor's folder of attempts that have ended, and how much of it is kept."""

import contextlib
import os
import re
import shutil
from collections.abc import Collection, Iterator
from pathlib import Path

from .folder import Folder
from .journal import Attempt, Journal

KEPT = 10_000
"""So many ended attempts keep their files: logs for who looks into a failure, states for a job that is requeued after
its end."""

# Files are `KEY.ATTEMPT.json`, `NAME.KEY.ATTEMPT.log`, or a command that is too long for a command line.
_FILE = re.compile(r"(?:.*\.)?([\w-]+)\.([0-9]{1,9})\.(?:json|sh|log)", re.DOTALL)


def clean(folder: Folder, journal: Journal, kept: int = KEPT) -> None:
    """Remove files of all but the last attempts that have ended; what cannot be removed stays.

    Args:
        folder: The executor's.
        journal: Of the same folder; it says which attempts have ended.
        kept: How many of them keep their files.
    """
    spared = set(journal.last_reported(kept))

    def is_over(attempt: Attempt) -> bool:
        return journal.is_over(*attempt) and attempt not in spared

    for path in _files(folder.states, folder.logs):
        match = _FILE.fullmatch(path.name)
        if match and is_over((match[1], int(match[2]))):
            with contextlib.suppress(OSError):
                path.unlink()
    for path in _files(folder.jobs):
        attempts = journal.submission(path.name)
        if attempts and all(map(is_over, attempts)):
            shutil.rmtree(path, ignore_errors=True)
    sessions = open_sessions(journal.open_keys(), journal)
    for path in _files(folder.pilot):
        if path.name not in sessions:
            shutil.rmtree(path, ignore_errors=True)


def remove_job(files: Path | None) -> None:
    """Remove a job's own files and, with the last of them, its submission's."""
    if files is None:
        return
    shutil.rmtree(files, ignore_errors=True)
    submission = files.parent
    with contextlib.suppress(OSError), os.scandir(submission) as entries:
        # Jobs have folders that begin with their id; of a large array only the first is looked at.
        if not any(entry.name[:1].isdigit() and entry.is_dir() for entry in entries):
            shutil.rmtree(submission, ignore_errors=True)


def open_sessions(open_keys: Collection[str] | Iterator[str], journal: Journal) -> set[str]:
    """Sessions of standing allocations in which something may be alive."""
    found = set()
    for key in open_keys:
        attempt = journal.open_attempt(key)
        place = journal.place(key, attempt) if attempt else None
        if place is not None and "/" in place.tag:
            found.add(place.tag.partition("/")[0])
        if key.startswith("pilot-"):
            found.add(key.split("-")[1])
    return found


def _files(*folders: Path) -> list[Path]:
    found: list[Path] = []
    for folder in folders:
        with contextlib.suppress(OSError):
            found += folder.iterdir()
    return found
