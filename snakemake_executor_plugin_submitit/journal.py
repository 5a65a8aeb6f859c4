"""The journal: what was submitted, by all Snakemake processes that used this folder.

JSON lines, appended and synced before they are acted on. A line that a kill cut short is passed over.

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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .backend import Work


@dataclass(frozen=True)
class Place:
    """Where an attempt was submitted to."""

    cluster: str
    tag: str
    index: int
    job_id: str | None
    """None if it is not known whether the scheduler took it: the process died in between."""


class Journal:
    """Reads the past at construction, appends the present.

    Args:
        path: The file; its folder exists.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # Snakemake's threads and the submitter's write to it.
        self._lock = threading.Lock()
        self._attempts: dict[str, int] = {}
        self._reported: dict[str, int] = {}
        self._submissions: dict[str, dict[str, Any]] = {}
        self._tags: dict[tuple[str, int], tuple[str, int]] = {}
        text = path.read_text() if path.exists() else ""
        self._torn = bool(text) and not text.endswith("\n")
        for record in _records(text):
            self._remember(record)

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

    def place(self, key: str, attempt: int) -> Place | None:
        """Where that attempt was submitted to, None if it never got so far."""
        if (key, attempt) not in self._tags:
            return None
        tag, index = self._tags[key, attempt]
        submission = self._submissions[tag]
        ids = submission.get("ids")
        return Place(submission["cluster"], tag, index, ids[index] if ids else None)

    def works(self, works: Iterable[Work]) -> None:
        """Record that these attempts are handed to a backend."""
        self._append({"event": "works", "works": _names(works)})

    def begin(self, tag: str, cluster: str, works: Iterable[Work]) -> None:
        """Record that a submission of this unique name is about to be made."""
        self._append({"event": "begin", "tag": tag, "cluster": cluster, "works": _names(works)})

    def submitted(self, tag: str, ids: list[str]) -> None:
        """Record the scheduler's ids of a submission's works."""
        self._append({"event": "submitted", "tag": tag, "ids": ids})

    def reported(self, works: Iterable[Work]) -> None:
        """Record that Snakemake knows how these attempts ended."""
        self._append({"event": "reported", "works": _names(works)})

    def _append(self, record: dict[str, Any]) -> None:
        with self._lock:
            self._write(record)
            self._remember(record)

    def _write(self, record: dict[str, Any]) -> None:
        line = ("\n" if self._torn else "") + json.dumps(record, separators=(",", ":")) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            self._torn = True
            rest = line.encode()
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            self._torn = False
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _remember(self, record: dict[str, Any]) -> None:
        match record["event"]:
            case "works":
                self._attempts.update({key: attempt for key, attempt in record["works"]})
            case "begin":
                self._submissions[record["tag"]] = record
                for index, (key, attempt) in enumerate(record["works"]):
                    self._tags[key, attempt] = (record["tag"], index)
            case "submitted":
                self._submissions[record["tag"]]["ids"] = record["ids"]
            case "reported":
                self._reported.update({key: attempt for key, attempt in record["works"]})


def _names(works: Iterable[Work]) -> list[tuple[str, int]]:
    return [(work.key, work.attempt) for work in works]


def _records(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and "event" in record:
            yield record
