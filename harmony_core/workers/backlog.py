"""The jobs of an allocation that nobody runs: their order, and what is known of how they died before."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

from harmony_core.workers.attempts import Job
from harmony_core.workers.formation import Formation, Team
from harmony_core.workers.health import History

Order = tuple[float, ...]


class Backlog:
    """Older orders first, then what is expected to take longest; who has died goes to another node where there is one.

    Args:
        formation: of the ranks, asked for other nodes.
        patience_seconds: how long a job that has died waits for another node.
    """

    def __init__(self, formation: Formation, patience_seconds: float) -> None:
        self._formation, self._patience = formation, patience_seconds
        self._waiting: list[tuple[Order, float, int, int, Job]] = []
        # Jobs that have died, and until when each waits for another node. There are few, and they are not kept for
        # every team.
        self._again: dict[tuple[int, str], tuple[Job, float]] = {}
        self._histories: dict[tuple[int, str], History] = {}
        self._orders: dict[int, Order] = {}
        self._number = 0

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting) + len(self._again)

    @property
    def has_fresh(self) -> bool:
        """Whether one waits that has not died."""
        return bool(self._waiting)

    def is_wanted(self, job: Job) -> bool:
        """Whether its feeder is still there."""
        return job.feeder in self._orders

    def add(self, feeder: int, order: Order, jobs: Iterable[Job], now: float) -> None:
        """Takes jobs of a feeder, with the deaths that they bring along.

        Args:
            feeder: its number.
            order: of the feeder; lower ones are served first.
            jobs: that wait from now on.
            now: seconds of a monotonic clock.
        """
        self._orders[feeder] = order
        for job in jobs:
            if job.attempts_before:
                known = [frozenset({node}) for node in job.died_on[: job.attempts_before]]
                unknown = [frozenset[str]()] * (job.attempts_before - len(known))
                self.remember(job, History(job.attempts, [*unknown, *known], [True] * job.attempts_before))
            self.push(job, now)

    def push(self, job: Job, now: float) -> None:
        """Lets a job wait, unless its feeder is gone."""
        if not self.is_wanted(job):
            return
        if (job.feeder, job.key) in self._histories:
            self._again[job.feeder, job.key] = (job, now + self._patience)
            return
        self._number += 1
        heapq.heappush(self._waiting, (self._orders[job.feeder], -job.expected_seconds, job.feeder, self._number, job))

    def take_for(self, team: Team, now: float) -> Job | None:
        """The first of the jobs that this team may run; it waits no longer."""
        fresh = self._waiting[0] if self._waiting else None
        best = min(
            ((key, job) for job, until in self._again.values() if (key := self._place(job, until, team, now))),
            key=lambda entry: (entry[0], entry[1].feeder, entry[1].key),
            default=None,
        )
        if best is not None and (fresh is None or best[0] <= (fresh[0], False, fresh[1])):
            del self._again[best[1].feeder, best[1].key]
            return best[1]
        return None if fresh is None else heapq.heappop(self._waiting)[4]

    def withdraw(self, feeder: int) -> None:
        """Forgets all of a feeder."""
        self._waiting = [entry for entry in self._waiting if entry[4].feeder != feeder]
        heapq.heapify(self._waiting)
        self._again = {task: entry for task, entry in self._again.items() if task[0] != feeder}
        self._histories = {task: history for task, history in self._histories.items() if task[0] != feeder}
        self._orders.pop(feeder, None)

    def clear(self) -> list[Job]:
        """Takes all jobs out, in their order."""
        left = [entry[4] for entry in sorted(self._waiting)] + [job for job, _ in self._again.values()]
        self._waiting, self._again = [], {}
        return left

    def history(self, job: Job) -> History:
        """The deaths of a job so far."""
        return self._histories.get((job.feeder, job.key)) or History(job.attempts)

    def remember(self, job: Job, history: History) -> None:
        """Keeps what a job has died of."""
        self._histories[job.feeder, job.key] = history

    def forget(self, job: Job) -> None:
        """Forgets the deaths of a job that has ended."""
        self._histories.pop((job.feeder, job.key), None)

    def next_time(self, after: float) -> float | None:
        """When the first job stops waiting for another node [s], of those later than `after`."""
        return min((until for _, until in self._again.values() if until > after), default=None)

    def _place(self, job: Job, until: float, team: Team, now: float) -> tuple[Order, bool, float] | None:
        """Where a job that has died stands for a team; None if it is for others."""
        history = self.history(job)
        here = any(rank.node in history.nodes for rank in team)
        if here and (now < until or history.is_owed_another_node) and self._formation.has_team_outside(history.nodes):
            return None
        return self._orders[job.feeder], here, -job.expected_seconds
