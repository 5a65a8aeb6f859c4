"""The border between Snakemake's side (:class:`Executor`) and whoever runs the jobs: arrays, or a standing allocation.

Life of a job: the executor turns it into a :class:`Work`, gives it to ``submit`` and asks ``poll`` until the answer is
:class:`Done` or :class:`Lost`. ``Done(rc=75)`` is submitted again by the executor, as the same work with the next
attempt. What ran is told apart by key and attempt: ``state/<key>.<attempt>.json`` is the one truth of how an attempt
ended, and whoever runs the command writes it (:mod:`.runner`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

TRY_AGAIN = 75
"""Exit code of a command that was not finished and wants to run again: EX_TEMPFAIL of sysexits.h."""

Resource: TypeAlias = str | int | float


@dataclass(frozen=True)
class Work:
    """One attempt at one Snakemake job; plain data, so that it can be written as JSON."""

    key: str
    """Hash of rule, outputs and command: the same key is the same work, also after Snakemake was started again."""
    rule: str
    name: str
    """For people: rule and wildcards, safe in a file name."""
    command: str
    """Run by ``bash -euo pipefail -c``."""
    cwd: str
    resources: Mapping[str, Resource] = field(default_factory=dict)
    """Snakemake's resources, with ``threads``; translated by :mod:`.resources`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to set, over those of the process that runs the command."""
    attempt: int = 1
    """Counts all submissions of this key, over all Snakemake processes."""


@dataclass(frozen=True)
class Running:
    """Waiting to be submitted, queued, or running: nothing to report yet."""


@dataclass(frozen=True)
class Done:
    """The command ended by itself, and its state file says how."""

    rc: int
    job_id: str = ""
    host: str = ""
    seconds: float = 0.0
    tail: str = ""
    """Last lines of the log."""


@dataclass(frozen=True)
class Lost:
    """It will not end by itself: refused by the scheduler, or gone without a state file."""

    why: str
    """One line for the user: what happened, in the scheduler's own words, and what may help."""
    job_id: str = ""
    logs: tuple[str, ...] = ()
    """Files worth reading, beside the command's own log."""
    final: bool = False
    """The same again would be refused again."""
    vanished: bool = False
    """Its own files were removed before it began: nothing of it ran, and the same again is no second try."""


Status: TypeAlias = Running | Done | Lost


class Backend(Protocol):
    """Runs works. Called from two threads of Snakemake's process, never two methods at once but for ``remaining``."""

    def attach(self, works: Sequence[Work]) -> set[str]:
        """Take over what an earlier Snakemake process submitted and what had not ended when last seen.

        Args:
            works: Works with the attempt that was submitted then.

        Returns:
            Keys of those that may be queued or running: they are polled from now on, and are Lost if they turn out to
            be gone. The others certainly do not run and never will.
        """
        ...

    def submit(self, works: Sequence[Work]) -> None:
        """Take these works over; does not wait. A refusal is :class:`Lost` at a later poll."""
        ...

    def poll(self, keys: Collection[str]) -> Mapping[str, Status]:
        """How the works stand, one status for each key asked for; what is told as Done or Lost is forgotten."""
        ...

    def cancel(self, keys: Collection[str]) -> None:
        """End these works with all their processes, or have the scheduler do so; they may be polled until gone."""
        ...

    def remaining(self, more_to_come: bool) -> None:
        """Hear whether this Snakemake process may submit more than it has; any thread, so it must not wait."""
        ...

    def close(self) -> None:
        """Snakemake ends: give back what is held, stop threads. What was not cancelled goes on."""
        ...
