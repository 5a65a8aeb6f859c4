"""The journal: what was submitted, by all Snakemake processes that used this folder.

JSON lines, appended and synced before they are acted on. A line that a kill
cut short, or that cannot be read, is passed over and counted.

================  ===================================================================================================
event             meaning, with its fields
================  ===================================================================================================
``works``         attempts were handed to a backend: ``works`` = [[key, attempt], ...]
``begin``         one submission is about to be made: ``tag``, its unique name; ``cluster``; ``works``, in order
``submitted``     the scheduler took it: ``tag``, ``ids`` = the scheduler's id of each work, in order
``reported``      Snakemake has recorded the end of these attempts: ``works``; their results count no more
================  ===================================================================================================
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeAlias

from .backend import Work
from .folder import parse_json
from .log import Log
from .shared_files import make_own, patiently, read_own

Attempt: TypeAlias = tuple[str, int]
"""Key of a work and number of the attempt at it."""


@dataclass(frozen=True)
class Place:
    """Where an attempt was submitted to."""

    cluster: str
    tag: str
    index: int
    job_id: str | None
    """None if it is not known whether the scheduler took it: the process died in between."""


@dataclass
class _Submission:
    cluster: str
    attempts: list[Attempt]
    ids: list[str] | None = None


class Journal:
    """Reads the past at construction, appends the present.

    Args:
        path: The file; its folder exists.
        log: Told of lines that cannot be read, and of a journal that somebody has removed.

    Raises:
        NotOurs: Somebody else can have written it.
    """

    def __init__(self, path: Path, log: Log | None = None) -> None:
        self._path = path
        self._log = log
        # Snakemake's threads and the submitter's write to the journal.
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._submissions: dict[str, _Submission] = {}
        self._tags: dict[Attempt, tuple[str, int]] = {}
        try:
            content = read_own(path)
        except FileNotFoundError:
            content = b""
        self._torn = bool(content) and not content.endswith(b"\n")
        self.unreadable = 0
        """Lines that were passed over."""
        for line in content.split(b"\n"):
            if line.strip() and not self._read(parse_json(line)):
                self.unreadable += 1
        if self.unreadable and log is not None:
            lines = "a line that cannot be read is" if self.unreadable == 1 else f"{self.unreadable} unreadable lines"
            log.warning(f"{path}: {lines}{'' if self.unreadable == 1 else ' are'} passed over")

    def next_attempt(self, key: str) -> int:
        """Number of the next attempt at this key."""
        return self._attempts.get(key, 0) + 1

    def open_attempt(self, key: str) -> int | None:
        """The last attempt, unless Snakemake has recorded how it ended."""
        attempt = self._attempts.get(key)
        return attempt if attempt != self._reported.get(key) else None

    def open_keys(self) -> Iterator[str]:
        """Keys that have an open attempt."""
        return (key for key in list(self._attempts) if self.open_attempt(key) is not None)

    def is_over(self, key: str, attempt: int) -> bool:
        """Whether Snakemake has recorded the end of this attempt, or of a later one."""
        return attempt <= self._reported.get(key, 0)

    def last_reported(self, number: int) -> list[Attempt]:
        """The attempts whose end was recorded last, at most so many."""
        return list(islice(reversed(self._reported.items()), number))

    def submission(self, tag: str) -> Sequence[Attempt]:
        """The attempts of a submission; none if it is not known."""
        found = self._submissions.get(tag)
        return found.attempts if found else ()

    def place(self, key: str, attempt: int) -> Place | None:
        """Where that attempt was submitted to, None if it never got so far."""
        if (key, attempt) not in self._tags:
            return None
        tag, index = self._tags[key, attempt]
        submission = self._submissions[tag]
        return Place(submission.cluster, tag, index, submission.ids[index] if submission.ids else None)

    def works(self, works: Iterable[Work]) -> None:
        """Record that these attempts are handed to a backend."""
        self._append({"event": "works", "works": _names(works)})

    def begin(self, tag: str, cluster: str, works: Iterable[Work]) -> None:
        """Record that a submission is about to be made.

        Args:
            tag: Its unique name.
            cluster: Name of the one that it goes to.
            works: What it submits.
        """
        self._append({"event": "begin", "tag": tag, "cluster": cluster, "works": _names(works)})

    def submitted(self, tag: str, ids: list[str]) -> None:
        """Record the scheduler's ids of a submission's works."""
        self._append({"event": "submitted", "tag": tag, "ids": ids})

    def reported(self, works: Iterable[Work]) -> None:
        """Record that Snakemake knows how these attempts ended."""
        self._append({"event": "reported", "works": _names(works)})

    def _append(self, record: dict[str, Any]) -> None:
        with self._lock:
            if (self._attempts or self._reported) and not self._path.exists():
                self._write_again()
            self._write(record)
            self._read(parse_json(json.dumps(record).encode()))

    def _write_again(self) -> None:
        """Write all that is known: somebody has removed the file under this process."""
        if self._log is not None:
            self._log.warning(f"{self._path}: removed while jobs are under way, and written again")
        make_own(self._path.parent)
        self._torn = False
        self._write({"event": "works", "works": list(self._attempts.items())})
        for tag, submission in self._submissions.items():
            attempts = submission.attempts
            self._write({"event": "begin", "tag": tag, "cluster": submission.cluster, "works": attempts})
            if submission.ids:
                self._write({"event": "submitted", "tag": tag, "ids": submission.ids})
        self._write({"event": "reported", "works": list(self._reported.items())})

    def _write(self, record: dict[str, Any]) -> None:
        line = json.dumps(record, separators=(",", ":")) + "\n"
        patiently(lambda: self._append_line(line))

    def _append_line(self, line: str) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            rest = (("\n" if self._torn else "") + line).encode()
            self._torn = True
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._torn = False
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _read(self, record: object) -> bool:
        """Take up a record; returns whether it is one."""
        match record:
            case {"event": "works", "works": list(names)} if (attempts := _attempts(names)) is not None:
                self._attempts.update(attempts)
            case {"event": "begin", "tag": str(tag), "cluster": str(cluster), "works": list(names)} if (
                attempts := _attempts(names)
            ) is not None:
                self._submissions[tag] = _Submission(cluster, attempts)
                for index, (key, attempt) in enumerate(attempts):
                    self._tags[key, attempt] = (tag, index)
                    # An earlier line of the key may be unreadable, so this line counts its attempts too.
                    self._attempts[key] = max(attempt, self._attempts.get(key, 0))
            case {"event": "submitted", "tag": str(tag), "ids": list(ids)} if (
                tag in self._submissions
                and len(ids) == len(self._submissions[tag].attempts)
                and all(isinstance(job_id, str) for job_id in ids)
            ):
                self._submissions[tag].ids = ids
            case {"event": "reported", "works": list(names)} if (attempts := _attempts(names)) is not None:
                for key, attempt in attempts:
                    # The key moves to the end, so that keys are in the order of their ends.
                    self._reported.pop(key, None)
                    self._reported[key] = attempt
            case _:
                return False
        return True


def _names(works: Iterable[Work]) -> list[Attempt]:
    return [(work.key, work.attempt) for work in works]


def _attempts(names: Sequence[object]) -> list[Attempt] | None:
    """Attempts as JSON has them; None if these are none."""
    found = []
    for name in names:
        match name:
            case [str(key), int(attempt)] if not isinstance(attempt, bool) and attempt > 0:
                found.append((key, attempt))
            case _:
                return None
    return found
