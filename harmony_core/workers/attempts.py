"""Jobs, attempts at them, and how these end, as the queue's rules see them."""

from __future__ import annotations

import dataclasses
from typing import Any

from harmony_core.workers.formation import Team
from harmony_core.workers.task import MACHINE, OUTSIDE

# The feeder of the known small tasks that tell whether a node is healthy.
PROBER = -1


@dataclasses.dataclass(frozen=True)
class Job:
    """A task as the queue sees it.

    Args:
        feeder: whose it is.
        key: its name among that feeder's.
        expected_seconds: the longest begins first.
        attempts_before: attempts of earlier runs that count.
        attempts: how often it may die.
        died_on: the nodes of those attempts, as far as they are known.
    """

    feeder: int
    key: str
    expected_seconds: float = 0.0
    attempts_before: int = 0
    attempts: int = 2
    died_on: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One attempt given to a team, its first rank leading."""

    id: int
    job: Job
    attempt: int
    team: Team

    @property
    def is_probe(self) -> bool:
        """Whether it is the known small task, whose key is its node."""
        return self.job.feeder == PROBER

    @property
    def nodes(self) -> frozenset[str]:
        """Where it runs."""
        return frozenset(rank.node for rank in self.team)


@dataclasses.dataclass(frozen=True)
class AttemptReport:
    """How a rank's part of an attempt ended.

    Args:
        result: the answer; None for a part that died or was cut off.
        error: why it died.
        killed: whether the task's own time limit ended it.
        counts: whether it counts as an attempt; being interrupted, or losing a worker, does not.
        seconds: wall time.
        user_error: field, value and fix of a mistake that is no candidate's fault.
        cause: of a death, if not the task itself: `harmony_core.workers.task.OUTSIDE` or `MACHINE`.
    """

    result: dict[str, Any] | None = None
    error: str | None = None
    killed: bool = False
    counts: bool = True
    seconds: float = 0.0
    user_error: tuple[str, str, str] | None = None
    cause: str = ""


@dataclasses.dataclass(frozen=True)
class Ended:
    """An attempt's end, as its feeder hears of it.

    Args:
        assignment: what has ended.
        report: how.
        final: whether the job is over.
        device_seconds: of all ranks, and what the allocation had held their places before they came, once a place.
        left_out: the node that is to blame, and why nothing is begun there any more.
    """

    assignment: Assignment
    report: AttemptReport
    final: bool
    device_seconds: float
    left_out: tuple[str, str] | None = None


@dataclasses.dataclass
class Running:
    """An attempt that is under way, or that died and was not judged yet.

    Args:
        assignment: what it is.
        waiting_for: ids of the ranks that have not reported.
        reports: of the others, by their ids, in order of coming.
        broken: whether the ranks that are left were told to stop.
    """

    assignment: Assignment
    waiting_for: set[int]
    reports: dict[int, AttemptReport] = dataclasses.field(default_factory=dict)
    broken: bool = False

    @property
    def report(self) -> AttemptReport:
        """The first to fail is the reason, or the machine's error; the others lost their partner, or were stopped."""
        failed = sorted((one for one in self.reports.values() if one.result is None), key=lambda r: r.cause != MACHINE)
        return failed[0] if failed else self.reports[self.assignment.team[0].id]

    @property
    def is_outside(self) -> bool:
        """Whether a part of it was ended from outside."""
        return any(one.cause == OUTSIDE for one in self.reports.values())
