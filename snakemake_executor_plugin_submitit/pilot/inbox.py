"""Jobs handed over to the standing allocation, a file each.

==============================  =======================================================================================
``<key>.<attempt>.json``        wanted, and not ended as far as anybody knows; written by the main process
``<key>.<attempt>.withdrawn``   beside it: not wanted any more; written by the main process
``<key>.<attempt>.failed``      instead of it: ended without success, so that it may come again; renamed by the agent,
                                removed by the main process once Snakemake has decided
==============================  =======================================================================================

Only an end removes a job, so an allocation that dies leaves its jobs where they were, free for the next one. The
attempt is part of the name: what the agent removes late is never a job that came again.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

from ..backend import Work
from ..folder import read_json, write_json
from ..shared_files import make_own, patiently

_NAME = re.compile(r"([\w-]+)\.([0-9]{1,9})\.(json|withdrawn|failed)")


class Job(NamedTuple):
    """Name of an attempt."""

    key: str
    attempt: int

    def file(self, kind: str) -> str:
        """Name of its file of this kind."""
        return f"{self.key}.{self.attempt}.{kind}"


@dataclass(frozen=True)
class Content:
    """What lies in the inbox."""

    jobs: frozenset[Job]
    withdrawn: frozenset[Job]
    failed: frozenset[Job]


class Inbox:
    """A folder of jobs.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def hand_over(self, works: Sequence[Work]) -> None:
        """Add jobs, in order."""
        first = 1 + max((order for order, _ in self._read(self.content().jobs)), default=0)
        for order, work in enumerate(works, first):
            write_json(self._path(Job(work.key, work.attempt), "json"), {"order": order, "work": asdict(work)})

    def content(self) -> Content:
        """What is there now; one reading of the folder, as the agent asks ten times a second."""
        found: dict[str, set[Job]] = {"json": set(), "withdrawn": set(), "failed": set()}
        for name in patiently(lambda: os.listdir(self.root)):
            # Other names are passed over: a file that is being written, or one of somebody else's.
            if match := _NAME.fullmatch(name):
                found[match[3]].add(Job(match[1], int(match[2])))
        return Content(*(frozenset(found[kind]) for kind in ("json", "withdrawn", "failed")))

    def read(self, jobs: Iterable[Job]) -> list[Work]:
        """These jobs as far as they are there, in order of arrival."""
        return [work for _, work in sorted(self._read(jobs), key=lambda entry: entry[0])]

    def withdraw(self, job: Job) -> None:
        """Say that a job is not wanted any more: the agent ends it."""
        make_own(self.root)
        self._path(job, "withdrawn").touch()

    def remove(self, job: Job) -> None:
        """Take out a job, whatever is there of it."""
        for kind in ("json", "failed", "withdrawn"):
            self._path(job, kind).unlink(missing_ok=True)

    def fail(self, job: Job) -> None:
        """Note that a job ended without success, if it is still there."""
        with contextlib.suppress(FileNotFoundError):
            self._path(job, "json").rename(self._path(job, "failed"))
        self._path(job, "withdrawn").unlink(missing_ok=True)

    def _path(self, job: Job, kind: str) -> Path:
        return self.root / job.file(kind)

    def _read(self, jobs: Iterable[Job]) -> list[tuple[int, Work]]:
        contents = (read_json(self._path(job, "json")) for job in jobs)
        return [found for content in contents if (found := parse_job(content)) is not None]


def parse_job(content: object) -> tuple[int, Work] | None:
    """Order and work that a job's file says; None if it says none."""
    match content:
        case {"order": int(order), "work": dict(fields)}:
            with contextlib.suppress(TypeError):
                work = Work(**fields)
                texts = (work.key, work.rule, work.name, work.command, work.cwd)
                maps = (work.resources, work.environment)
                if all(isinstance(one, str) for one in texts) and all(isinstance(one, dict) for one in maps):
                    return order, work
    return None
