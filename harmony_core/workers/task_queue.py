"""Who runs what next in an allocation: tasks of all feeders, ranks in teams, attempts. No input, no output, no clock.

Times are handed in by the caller, so that the server and the simulator of benchmarks/ run the same rules.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from harmony_core.workers.attempts import PROBER, Assignment, AttemptReport, Ended, Job, Running
from harmony_core.workers.backlog import Backlog, Order
from harmony_core.workers.formation import Formation, Rank, Team
from harmony_core.workers.health import WINDOW_SECONDS, Death, Health, Verdict, View
from harmony_core.workers.task import MACHINE, OUTSIDE

# A task that died waits this long for another node, if there is one.
PATIENCE_SECONDS = 30.0


class TaskQueue:
    """Hands each job to one team at a time, older orders first, then longest expected first.

    A job that has died goes to another node where there is one that is soon free, and behind the others where there
    is none. `Health` says which deaths count, and on which nodes nothing is begun any more.

    Args:
        team_size: ranks a task.
        window_seconds: how long a death waits for others on its node before it is judged.
        patience_seconds: how long a job that has died waits for another node.
    """

    def __init__(
        self,
        team_size: int = 1,
        window_seconds: float = WINDOW_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.draining = False
        self._formation = Formation(team_size)
        self._health = Health(window_seconds)
        self._backlog = Backlog(self._formation, patience_seconds)
        self._number = 0
        self._running: dict[int, Running] = {}
        self._dead: dict[int, Running] = {}
        self._of_rank: dict[int, int] = {}
        # Seconds that the allocation had lasted when each place's first rank came, and 0 once an attempt has had them.
        self._unpaid: dict[tuple[str, int], float] = {}
        self._settled_at = self._assigned_at = float("-inf")

    @property
    def num_ranks(self) -> int:
        """Ranks that are connected."""
        return self._formation.num_ranks

    @property
    def num_waiting(self) -> int:
        """Jobs that nobody runs."""
        return len(self._backlog)

    @property
    def num_running(self) -> int:
        """Attempts that are under way."""
        return len(self._running)

    @property
    def is_over(self) -> bool:
        """Whether nothing waits, runs, or is to be judged."""
        return not (self.num_waiting or self._running or self._dead)

    @property
    def left_out(self) -> dict[str, str]:
        """Nodes on which nothing is begun any more, and why."""
        return self._health.left_out

    @property
    def is_without_nodes(self) -> bool:
        """Whether every node that ever came is left out, and nothing runs there any more."""
        return bool(self.left_out) and self._formation.seen <= self.left_out.keys() and not self._running

    def add(self, feeder: int, order: Order, jobs: Iterable[Job], now: float = 0.0) -> None:
        """Takes jobs of a feeder; arguments as for `Backlog.add`."""
        self._backlog.add(feeder, order, jobs, now)

    def withdraw(self, feeder: int) -> list[Assignment]:
        """Forgets a feeder's waiting jobs; returns its running attempts, which nobody wants any more."""
        self._backlog.withdraw(feeder)
        running = [one for one in self._running.values() if one.assignment.job.feeder == feeder]
        for one in running:
            one.broken = True
        return [one.assignment for one in running]

    def drain(self) -> list[Job]:
        """Begins nothing from now on; returns the jobs that wait. `settle` judges the deaths that are open."""
        self.draining = True
        return self._backlog.clear()

    def join(self, rank: Rank, held_seconds: float = 0.0) -> None:
        """A rank has come and is idle.

        Its place was held since the allocation began, while data and environment were copied to the node and ranks
        started. The first attempt that ends there has that in its device seconds; one that comes back brings none.

        Args:
            rank: that has come.
            held_seconds: since the allocation began; 0 where nothing was held before.
        """
        self._unpaid.setdefault((rank.node, rank.local), held_seconds)
        self._formation.join(rank)

    def leave(
        self, rank: Rank, why: str, counts: bool = True, seconds: float = 0.0, now: float = 0.0
    ) -> tuple[list[Ended], list[Assignment]]:
        """A rank has gone, and its attempt, if any, has died of it.

        Args:
            rank: that has gone.
            why: in words, the attempt's error.
            counts: whether the death does, against the task and the node.
            seconds: that the attempt had run.
            now: seconds of a monotonic clock.

        Returns:
            As `ended`.
        """
        if not self._formation.leave(rank):
            return [], []
        if rank.id not in self._of_rank:
            return self.settle(now), []
        report = AttemptReport(error=why, counts=counts, seconds=seconds, cause=OUTSIDE)
        return self.ended(self._of_rank[rank.id], rank, report, now)

    def assign(self, now: float = 0.0) -> list[Assignment]:
        """Gives waiting jobs to idle teams, and the known small task to nodes that are in doubt."""
        self._assigned_at = now
        if self.draining:
            return []
        given = self._probes()
        refused = []
        while self.num_waiting and (team := self._formation.take()) is not None:
            job = self._backlog.take_for(team, now)
            if job is None:
                refused.append(team)
            else:
                given.append(self._begin(job, team))
        self._formation.put_back(refused)
        return given

    def ended(
        self, assignment_id: int, rank: Rank, report: AttemptReport, now: float = 0.0
    ) -> tuple[list[Ended], list[Assignment]]:
        """A rank's part of an attempt is over.

        Args:
            assignment_id: number of the attempt.
            rank: that has ended its part; it is idle now.
            report: how it ended.
            now: seconds of a monotonic clock.

        Returns:
            The attempts whose end can be told, this one or others; and those whose other ranks must be told to
            stop, since one part has failed.
        """
        # Deaths that have been open for long enough are judged without this one.
        ended = self.settle(now)
        running = self._running.get(assignment_id)
        if running is None or rank.id not in running.waiting_for:
            return ended, []
        running.waiting_for.discard(rank.id)
        running.reports[rank.id] = report
        del self._of_rank[rank.id]
        self._formation.free(rank)
        failed = report.result is None and not running.broken
        running.broken = running.broken or failed
        if running.waiting_for:
            return ended, [running.assignment] if failed else []
        del self._running[assignment_id]
        return ended + self._take_in(running, now) + self.settle(now), []

    def settle(self, now: float = 0.0) -> list[Ended]:
        """Judges the deaths that need not wait any longer; to be called again at `next_time`."""
        self._settled_at = now
        view = View(
            idle=lambda node: self._formation.idle_rank(node) is not None,
            present=self._formation.is_present,
            busy=self._may_see_more,
        )
        ended: list[Ended] = []
        for verdict in self._health.judge(now, view, self.draining):
            ended += self._told(verdict, now)
        self._formation.leave_out(self.left_out.keys())
        self._formation.doubt(self._health.suspects)
        return ended

    def next_time(self) -> float | None:
        """When `settle` and `assign` will have something to do although nothing has happened [s].

        It may be past by now, but not by the times that they were last told.
        """
        opened = self._health.next_time()
        times = [None if opened is None or opened <= self._settled_at else opened]
        times.append(self._backlog.next_time(after=self._assigned_at))
        return min((time for time in times if time is not None), default=None)

    def _take_in(self, running: Running, now: float) -> list[Ended]:
        """Says how an attempt ended, or keeps its death until it can be judged."""
        assignment, report = running.assignment, running.report
        job = assignment.job
        if assignment.is_probe:
            failure = None if report.result is not None else report.error or str(report.user_error)
            self._health.end_probe(job.key, failure, conclusive=report.result is not None or report.counts)
            return []
        if report.result is not None or report.killed or report.user_error is not None:
            return self._end(running, report, final=True)
        if report.cause == MACHINE:
            for rank in assignment.team:
                if running.reports[rank.id].cause == MACHINE:
                    self._health.leave_out(rank.node, running.reports[rank.id].error or "an error of its own")
        elif not report.counts:
            self._wait_again(job, now)
            return self._end(running, report, final=False)
        if not self._backlog.is_wanted(job):
            return []
        after = self._backlog.history(job).and_another(assignment.nodes, running.is_outside)
        elsewhere = self._formation.has_team_outside(after.nodes)
        decisive = after.is_one_nodes_word and after.is_over(elsewhere)
        self._dead[assignment.id] = running
        self._health.died(Death(assignment.id, (job.feeder, job.key), assignment.nodes, now, decisive))
        return []

    def _told(self, verdict: Verdict, now: float) -> list[Ended]:
        """What a feeder hears of a death that was judged; the job waits again, unless that was the last word."""
        running = self._dead.pop(verdict.death.id)
        job, report = running.assignment.job, running.report
        if not self._backlog.is_wanted(job):
            return []
        final = False
        left_out = None
        if verdict.counts:
            history = self._backlog.history(job).and_another(running.assignment.nodes, running.is_outside)
            self._backlog.remember(job, history)
            final = history.is_over(self._formation.has_team_outside(history.nodes))
        else:
            why = self.left_out.get(verdict.node or "")
            left_out = None if verdict.node is None or why is None else (verdict.node, why)
            what = "is left out" if left_out else "is lost"
            blame = "" if verdict.node is None else f" ({verdict.node} {what})"
            report = dataclasses.replace(report, counts=False, error=f"{report.error}{blame}")
        if not final:
            self._wait_again(job, now)
        return self._end(running, report, final, left_out)

    def _end(
        self, running: Running, report: AttemptReport, final: bool, left_out: tuple[str, str] | None = None
    ) -> list[Ended]:
        job = running.assignment.job
        if not self._backlog.is_wanted(job):
            return []
        if final:
            self._backlog.forget(job)
        team = running.assignment.team
        seconds = max(one.seconds for one in running.reports.values()) * len(team)
        for rank in team:
            seconds += self._unpaid.get((rank.node, rank.local), 0.0)
            self._unpaid[rank.node, rank.local] = 0.0
        return [Ended(running.assignment, report, final, seconds, left_out)]

    def _may_see_more(self, node: str) -> bool:
        """Whether more tasks may die on a node soon."""
        return self._backlog.has_fresh or any(node in one.assignment.nodes for one in self._running.values())

    def _wait_again(self, job: Job, now: float) -> None:
        if not self.draining:
            self._backlog.push(job, now)

    def _probes(self) -> list[Assignment]:
        given = []
        for node in self._health.suspects:
            if not self._health.is_probed(node) and (rank := self._formation.idle_rank(node)) is not None:
                self._health.begin_probe(node)
                given.append(self._begin(Job(PROBER, node), (rank,)))
        return given

    def _begin(self, job: Job, team: Team) -> Assignment:
        self._number += 1
        assignment = Assignment(self._number, job, len(self._backlog.history(job).deaths) + 1, team)
        self._running[assignment.id] = Running(assignment, {rank.id for rank in team})
        self._formation.engage(team)
        self._of_rank.update({rank.id: assignment.id for rank in team})
        return assignment
