"""Who runs what next in an allocation: tasks of all feeders, ranks in teams, attempts. No input, no output, no clock.

Times are handed in by the caller, so that the server and the simulator of benchmarks/ run the same rules.
"""

from __future__ import annotations

import dataclasses
import heapq
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

Order = tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Rank:
    """One connected process of the allocation.

    Args:
        id: unique for the queue's life; a process that comes back is another rank.
        node: name of its node.
        node_index: place of the node in the allocation.
        local: its number on the node.
    """

    id: int
    node: str
    node_index: int
    local: int


@dataclasses.dataclass(frozen=True)
class Job:
    """A task as the queue sees it.

    Args:
        feeder: whose it is.
        key: its name among that feeder's.
        expected_seconds: the longest begins first.
        attempts_before: attempts of earlier runs that count.
        attempts: how often it may die.
    """

    feeder: int
    key: str
    expected_seconds: float = 0.0
    attempts_before: int = 0
    attempts: int = 2


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One attempt given to a team, its first rank leading."""

    id: int
    job: Job
    attempt: int
    team: tuple[Rank, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """How a rank's part of an attempt ended.

    Args:
        result: the answer; None for a part that died or was cut off.
        error: why it died.
        killed: whether the task's own time limit ended it.
        counts: whether it counts as an attempt; being interrupted, or losing a worker, does not.
        seconds: wall time.
        user_error: field, value and fix of a mistake that is no candidate's fault.
    """

    result: dict[str, Any] | None = None
    error: str | None = None
    killed: bool = False
    counts: bool = True
    seconds: float = 0.0
    user_error: tuple[str, str, str] | None = None


@dataclasses.dataclass(frozen=True)
class Ended:
    """An attempt's end, as its feeder hears of it."""

    assignment: Assignment
    report: Report
    final: bool
    device_seconds: float


@dataclasses.dataclass
class _Running:
    assignment: Assignment
    waiting_for: set[int]
    reports: dict[int, Report] = dataclasses.field(default_factory=dict)
    broken: bool = False


class TaskQueue:
    """Hands each job to one team at a time, older orders first, then longest expected first.

    Teams are formed anew whenever a rank comes or goes: on each node from its ranks in order; what is
    left over on a node makes teams with what is left over on the next ones.

    Args:
        team_size: ranks a task.
    """

    def __init__(self, team_size: int = 1) -> None:
        self.team_size = team_size
        self.draining = False
        self._waiting: list[tuple[Order, float, int, int, Job, int]] = []
        self._orders: dict[int, Order] = {}
        self._number = 0
        self._running: dict[int, _Running] = {}
        self._of_rank: dict[int, int] = {}
        self._nodes: dict[tuple[int, str], dict[int, Rank]] = defaultdict(dict)
        self._teams: dict[int, tuple[Rank, ...]] = {}
        self._idle: set[int] = set()
        self._startable: list[tuple[int, int, int, tuple[Rank, ...]]] = []
        self._changed: set[tuple[int, str]] = set()

    @property
    def num_ranks(self) -> int:
        """Ranks that are connected."""
        return sum(len(ranks) for ranks in self._nodes.values())

    @property
    def num_waiting(self) -> int:
        """Jobs that nobody runs."""
        return len(self._waiting)

    @property
    def num_running(self) -> int:
        """Attempts that are under way."""
        return len(self._running)

    def add(self, feeder: int, order: Order, jobs: Iterable[Job]) -> None:
        """Takes jobs of a feeder; lower orders are served first."""
        self._orders[feeder] = order
        for job in jobs:
            self._push(job, job.attempts_before + 1)

    def withdraw(self, feeder: int) -> list[Assignment]:
        """Forgets a feeder's waiting jobs; returns its running attempts, which nobody wants any more."""
        self._waiting = [entry for entry in self._waiting if entry[4].feeder != feeder]
        heapq.heapify(self._waiting)
        self._orders.pop(feeder, None)
        running = [one for one in self._running.values() if one.assignment.job.feeder == feeder]
        for one in running:
            one.broken = True
        return [one.assignment for one in running]

    def drain(self) -> list[Job]:
        """Begins nothing from now on; returns the jobs that wait."""
        self.draining = True
        left = [entry[4] for entry in sorted(self._waiting)]
        self._waiting = []
        return left

    def join(self, rank: Rank) -> None:
        """A rank has come and is idle."""
        place = (rank.node_index, rank.node)
        self._nodes[place][rank.id] = rank
        self._idle.add(rank.id)
        self._changed.add(place)

    def leave(
        self, rank: Rank, why: str, counts: bool = True, seconds: float = 0.0
    ) -> tuple[list[Ended], list[Assignment]]:
        """A rank has gone; its attempt, if any, has died of it after so many seconds.

        Returns:
            As `ended`.
        """
        place = (rank.node_index, rank.node)
        if self._nodes[place].pop(rank.id, None) is None:
            return [], []
        self._idle.discard(rank.id)
        self._changed.add(place)
        if rank.id not in self._of_rank:
            return [], []
        return self.ended(self._of_rank[rank.id], rank, Report(error=why, counts=counts, seconds=seconds))

    def assign(self) -> list[Assignment]:
        """Gives waiting jobs to idle teams."""
        self._form_teams()
        given = []
        while self._waiting and self._startable:
            *_, team = heapq.heappop(self._startable)
            if not self._is_startable(team):
                continue
            *_, job, attempt = heapq.heappop(self._waiting)
            self._number += 1
            assignment = Assignment(self._number, job, attempt, team)
            self._running[assignment.id] = _Running(assignment, {rank.id for rank in team})
            for rank in team:
                self._idle.discard(rank.id)
                self._of_rank[rank.id] = assignment.id
            given.append(assignment)
        return given

    def ended(self, assignment_id: int, rank: Rank, report: Report) -> tuple[list[Ended], list[Assignment]]:
        """A rank's part of an attempt is over.

        Returns:
            The attempts that have ended by it, with their final word; and those whose other ranks must
            be told to stop, since one part has failed.
        """
        running = self._running.get(assignment_id)
        if running is None or rank.id not in running.waiting_for:
            return [], []
        running.waiting_for.discard(rank.id)
        running.reports[rank.id] = report
        del self._of_rank[rank.id]
        if rank.id in self._nodes[(rank.node_index, rank.node)]:
            self._idle.add(rank.id)
            self._offer(self._teams.get(rank.id))
        failed = report.result is None and not running.broken
        running.broken = running.broken or failed
        if running.waiting_for:
            return [], [running.assignment] if failed else []
        del self._running[assignment_id]
        return self._judge(running), []

    def _judge(self, running: _Running) -> list[Ended]:
        assignment = running.assignment
        job = assignment.job
        if job.feeder not in self._orders:
            return []
        reports = list(running.reports.values())
        # The first to fail is the reason; the others lost their partner, or were told to stop.
        report = next((one for one in reports if one.result is None), running.reports[assignment.team[0].id])
        final = report.result is not None or report.killed or report.user_error is not None
        final = final or (report.counts and assignment.attempt >= job.attempts)
        if not final and not self.draining:
            self._push(job, assignment.attempt + report.counts)
        seconds = max(one.seconds for one in reports) * len(assignment.team)
        return [Ended(assignment, report, final, seconds)]

    def _push(self, job: Job, attempt: int) -> None:
        self._number += 1
        entry = (self._orders[job.feeder], -job.expected_seconds, job.feeder, self._number, job, attempt)
        heapq.heappush(self._waiting, entry)

    def _form_teams(self) -> None:
        """Brings the teams up to date with who is connected."""
        if not self._changed:
            return
        size = self.team_size
        if size == 1:
            for place in self._changed:
                for rank in self._nodes[place].values():
                    if rank.id not in self._teams:
                        self._teams[rank.id] = (rank,)
                        self._offer((rank,))
            self._changed.clear()
            return
        self._changed.clear()
        self._teams = {}
        self._startable = []
        spare: list[Rank] = []
        for place in sorted(self._nodes):
            ranks = sorted(self._nodes[place].values(), key=lambda rank: (rank.local, rank.id))
            whole = len(ranks) - len(ranks) % size
            self._name_teams(ranks[:whole])
            spare += ranks[whole:]
        self._name_teams(spare[: len(spare) - len(spare) % size])

    def _name_teams(self, ranks: list[Rank]) -> None:
        for begin in range(0, len(ranks), self.team_size):
            team = tuple(ranks[begin : begin + self.team_size])
            self._teams.update({rank.id: team for rank in team})
            self._offer(team)

    def _offer(self, team: tuple[Rank, ...] | None) -> None:
        if team is not None and self._is_startable(team):
            first = team[0]
            heapq.heappush(self._startable, (first.node_index, first.local, first.id, team))

    def _is_startable(self, team: tuple[Rank, ...]) -> bool:
        return all(rank.id in self._idle for rank in team) and self._teams.get(team[0].id) == team
