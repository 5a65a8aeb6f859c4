"""Utilisation of an allocation by the queue's own rules (`TaskQueue`), on a virtual clock: 16 teams, then 16,384."""

from __future__ import annotations

import dataclasses
import heapq
import statistics
import sys
from collections.abc import Callable
from typing import Any

from benchmarks.common import write_result
from benchmarks.workload import Workload
from harmony_core.workers.attempts import Assignment, AttemptReport, Job
from harmony_core.workers.formation import Rank
from harmony_core.workers.task_queue import TaskQueue

RANKS_PER_NODE = 8
SMALL_TEAMS, SEEDS = 16, range(20)
LARGE_TEAMS, CANDIDATES_PER_TEAM = 16_384, (1, 4, 12)
# A training of about 10 minutes, ended by the default limit of an hour.
LARGE_MEDIAN_SECONDS, LARGE_LIMIT_SECONDS = 600.0, 3600.0


@dataclasses.dataclass(frozen=True)
class Overheads:
    """Seconds in which a team is allocated and not busy, although nothing is wrong.

    Args:
        start: from an allocation's first instruction to where its teams could begin a task.
        chain: from a generation's last result to where the first one bred from it could begin: Snakemake notices,
            selects, breeds, hands the next jobs over, and these bring their tasks.
        gap: from a task's end to the begin of the team's next, where one waits.
        release: from an allocation's last result to its last instruction.
    """

    start: float
    chain: float
    gap: float
    release: float


# As benchmarks.utilisation measures them on a quiet machine of 2 cores, with the steps between generations.
SMALL_OVERHEADS = Overheads(start=1.6, chain=5.5, gap=0.011, release=0.35)
# Assumed: Python read by 16,384 ranks from Lustre; Snakemake asking every 10 s, and a selection of as many shards;
# a first GPU kernel; ranks that say goodbye.
LARGE_OVERHEADS = Overheads(start=180.0, chain=120.0, gap=5.0, release=30.0)


@dataclasses.dataclass(frozen=True)
class Usage:
    """What an allocation was used for, in team-seconds, and how long the search took inside allocations."""

    busy: float
    allocated: float
    seconds: float

    @property
    def share(self) -> float:
        """Busy of allocated team-seconds."""
        return self.busy / self.allocated


class StandingAllocation:
    """One allocation for all generations, held from its start until its last result.

    All shards of a generation have one order, so that they are one feeder here.

    Args:
        workload: the candidates.
        num_teams: teams of one rank.
        lag: 0 breeds generation g from g - 1, 1 from g - 2.
        overheads: as measured.
        generations: those to be done; all by default.
    """

    def __init__(
        self, workload: Workload, num_teams: int, lag: int, overheads: Overheads, generations: range | None = None
    ) -> None:
        self._workload, self._num_teams, self._lag, self._overheads = workload, num_teams, lag, overheads
        self._generations = range(workload.generations) if generations is None else generations
        self._queue = TaskQueue()
        self._durations: dict[tuple[int, str], float] = {}
        self._left: dict[int, int] = {}
        self._selected = self._generations.start
        # What happens next: a generation's tasks are brought, or an attempt ends.
        self._events: list[tuple[float, int, int | Assignment]] = []
        self._number = 0
        self._busy = 0.0

    def run(self) -> Usage:
        """Simulates to the end."""
        for index in range(self._num_teams):
            node = index // RANKS_PER_NODE
            self._queue.join(Rank(index, f"n{node}", node, index % RANKS_PER_NODE))
        for generation in self._generations[: self._lag + 1]:
            self._at(self._overheads.start, generation)
        now = 0.0
        while self._events:
            now, _, event = heapq.heappop(self._events)
            if isinstance(event, Assignment):
                self._end(event, now)
            else:
                self._bring(event)
            # What happens at one moment is dispatched once, as the server does.
            if not self._events or self._events[0][0] > now:
                self._dispatch(now)
        seconds = now + self._overheads.release
        return Usage(self._busy, self._num_teams * seconds, seconds)

    def _at(self, time: float, event: int | Assignment) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, event))

    def _bring(self, generation: int) -> None:
        durations, expectations = self._workload.generation(generation)
        jobs = [Job(generation, str(number), seconds) for number, seconds in enumerate(expectations)]
        self._durations.update({(generation, job.key): one for job, one in zip(jobs, durations, strict=True)})
        self._left[generation] = len(jobs)
        self._queue.add(generation, (generation, 0), jobs)

    def _dispatch(self, now: float) -> None:
        for assignment in self._queue.assign():
            seconds = self._durations[assignment.job.feeder, assignment.job.key]
            self._busy += seconds
            self._at(now + self._overheads.gap + seconds, assignment)

    def _end(self, assignment: Assignment, now: float) -> None:
        (rank,) = assignment.team
        self._queue.ended(assignment.id, rank, AttemptReport(result={}))
        self._left[assignment.job.feeder] -= 1
        # A selection merges the one before, so generations are selected in order.
        while self._left.get(self._selected) == 0:
            bred = self._selected + 1 + self._lag
            if bred in self._generations:
                self._at(now + self._overheads.chain, bred)
            self._selected += 1


def standing(workload: Workload, num_teams: int, lag: int, overheads: Overheads) -> Usage:
    """One standing allocation for the whole search."""
    return StandingAllocation(workload, num_teams, lag, overheads).run()


def allocation_a_shard(workload: Workload, num_teams: int, overheads: Overheads) -> Usage:
    """Each generation is a shard with an allocation of its own; the time between two is nobody's."""
    each = [
        StandingAllocation(workload, num_teams, 0, overheads, range(index, index + 1)).run()
        for index in range(workload.generations)
    ]
    return Usage(sum(one.busy for one in each), sum(one.allocated for one in each), sum(one.seconds for one in each))


def small() -> dict[str, Any]:
    """The three ways to hold 16 teams, for many draws of the workload: a single straggler decides much of it."""
    ways: dict[str, Callable[[Workload], Usage]] = {
        "standing_lag_1": lambda workload: standing(workload, SMALL_TEAMS, 1, SMALL_OVERHEADS),
        "standing_lag_0": lambda workload: standing(workload, SMALL_TEAMS, 0, SMALL_OVERHEADS),
        "allocation_a_shard": lambda workload: allocation_a_shard(workload, SMALL_TEAMS, SMALL_OVERHEADS),
    }
    found = {}
    for name, way in ways.items():
        shares = [way(Workload(seed=seed)).share for seed in SEEDS]
        found[name] = {"median": statistics.median(shares), "min": min(shares), "max": max(shares)}
        print(f"{SMALL_TEAMS} teams, {name}: {found[name]['median']:.1%} busy ({min(shares):.1%} to {max(shares):.1%})")
    return found


def large() -> list[dict[str, float]]:
    """16,384 teams in a standing allocation, by candidates a team and generation."""
    found = []
    for each in CANDIDATES_PER_TEAM:
        for lag in (0, 1):
            workload = Workload(
                candidates=each * LARGE_TEAMS,
                median_seconds=LARGE_MEDIAN_SECONDS,
                limit_seconds=LARGE_LIMIT_SECONDS,
            )
            usage = standing(workload, LARGE_TEAMS, lag, LARGE_OVERHEADS)
            found.append({"candidates_a_team": each, "lag": lag, "busy_share": usage.share, "seconds": usage.seconds})
            print(
                f"{LARGE_TEAMS} teams, {each} candidates a team and generation, lag {lag}: {usage.share:.1%} busy, "
                f"{usage.seconds / 3600:.1f} h",
                flush=True,
            )
    return found


def main() -> int:
    overheads = {"small": dataclasses.asdict(SMALL_OVERHEADS), "large": dataclasses.asdict(LARGE_OVERHEADS)}
    write_result("simulation", {"overheads": overheads, "small": small(), "large": large()})
    return 0


if __name__ == "__main__":
    sys.exit(main())
