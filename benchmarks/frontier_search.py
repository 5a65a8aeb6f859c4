"""A search of 16,384 teams and eight generations in allocations of twelve hours, simulated by the queue's own rules.

Beside what `benchmarks.simulation` counts: staging at the start of each allocation, the lead at its end in which
nothing begins, checkpoints by their bytes, what is trained again because none was worth writing, what the budget is
charged, what idle time goes to, and what the shared file system is asked for. What that is was measured
(`benchmarks.file_operations`); the seconds are assumed.

    python -m benchmarks.frontier_search
"""

from __future__ import annotations

import dataclasses
import heapq
import json
import sys
from typing import Any

from benchmarks.common import RESULTS, write_result
from benchmarks.simulation import RANKS_PER_NODE
from benchmarks.workload import Workload
from harmony_core.search.opened import generation_order
from harmony_core.workers.attempts import Assignment, AttemptReport, Job
from harmony_core.workers.formation import Rank
from harmony_core.workers.task_queue import TaskQueue

TEAMS, LAG, LEAST_BUSY = 16_384, 1, 0.95
SHARD = 512
# Candidates of a team and generation, of ten minutes in the median and one hour at most as in benchmarks.simulation.
EACH = 8
WORKLOAD = Workload(median_seconds=600.0, limit_seconds=3600.0)
# A candidate of 300 M parameters trains for about as long as the median, and a checkpoint has 12 bytes a parameter.
BYTES_PER_SECOND_OF_TRAINING = 12 * 300e6 / 600.0
RANK_LAST_SECONDS = 15.0


@dataclasses.dataclass(frozen=True)
class Site:
    """What an allocation costs beside training, in seconds unless said.

    Args:
        limit: of an allocation.
        lead: before its end, from which nothing begins.
        start: from its first instruction to where teams could begin: staging, imports, the queue's door.
        gap: from a task's end to the next one's first step.
        chain: from a generation's last result to where those bred from it are in the queue.
        release: from the last result to the last instruction.
        checkpoint_rate: bytes/s that a rank writes to the shared file system, or reads, while all do.
    """

    limit: float = 12 * 3600.0
    lead: float = 300.0
    start: float = 420.0
    gap: float = 5.0
    chain: float = 300.0
    release: float = 30.0
    checkpoint_rate: float = 0.1e9


@dataclasses.dataclass(frozen=True)
class Rules:
    """How candidates leave at an allocation's end, and where they write on the way.

    Args:
        by_bytes: a candidate is told as late as its checkpoint allows, and writes none that is not worth it; else all
            are told when a quarter of the lead is left, and all write.
        on_nodes: checkpoints by the clock stay on the node.
    """

    by_bytes: bool
    on_nodes: bool


@dataclasses.dataclass
class Told:
    """What came of a search.

    Args:
        charged_seconds: what the budget counts, by the queue's own rule: attempts, and staging once a place.
        staging_seconds: before teams could begin, of all of them.
        between_seconds: from a task's end to the next one's first step, checkpoints that are read among them.
        ends_seconds: at the ends of allocations, after a team's last task, but for the search's last.
        tail_seconds: at the search's end, after a team's last task.
    """

    allocations: int = 0
    allocated_seconds: float = 0.0
    charged_seconds: float = 0.0
    staging_seconds: float = 0.0
    between_seconds: float = 0.0
    ends_seconds: float = 0.0
    tail_seconds: float = 0.0
    trained_again_seconds: float = 0.0
    interrupted: int = 0
    written_at_ends: int = 0
    bytes_at_ends: float = 0.0
    bytes_by_the_clock: float = 0.0


class Search:
    """One search, allocation after allocation.

    Args:
        site: what is lost beside training.
        rules: of checkpoints.
        workload: the candidates.
        teams: of one rank.
    """

    def __init__(self, site: Site, rules: Rules, workload: Workload, teams: int) -> None:
        self._site, self._rules, self._workload, self._teams = site, rules, workload, teams
        self.told = Told()
        self._durations = [workload.generation(g) for g in range(workload.generations)]
        self._left = [dict(enumerate(durations)) for durations, _ in self._durations]
        self._selected = 0
        self._bred = LAG + 1

    def run(self) -> Told:
        """Simulates to the end."""
        while self._selected < self._workload.generations:
            self._allocation()
        for durations, _ in self._durations:
            # A checkpoint each ten minutes, but the rule leaves out those with less than five of them left.
            many = [max(0, int(one / 600.0) - (self._rules.by_bytes and one % 600.0 < 300.0)) for one in durations]
            size = (BYTES_PER_SECOND_OF_TRAINING * one for one in durations)
            self.told.bytes_by_the_clock += sum(n * one for n, one in zip(many, size, strict=True))
        if self._rules.on_nodes:
            self.told.bytes_by_the_clock = 0.0
        return self.told

    @property
    def busy(self) -> float:
        """Team-seconds of trainings that count, each once."""
        return sum(sum(durations) for durations, _ in self._durations)

    def _allocation(self) -> None:
        self.told.allocations += 1
        self._queue, self._events, self._number = TaskQueue(), list[tuple[float, int, Any]](), 0
        for index in range(self._teams):
            node = index // RANKS_PER_NODE
            self._queue.join(Rank(index, f"n{node}", node, index % RANKS_PER_NODE), self._site.start)
        self._begun, self._free = dict[int, float](), dict.fromkeys(range(self._teams), self._site.start)
        self.told.staging_seconds += self._teams * self._site.start
        for generation in range(self._selected, self._bred):
            if self._left[generation]:
                self._at(self._site.start, generation)
        now, end = 0.0, self._site.limit
        while self._events:
            now, _, event = heapq.heappop(self._events)
            if isinstance(event, tuple):
                assignment, left = event
                self._end(assignment, left, now)
            elif now < end - self._site.lead:
                self._bring(event)
            if now < end - self._site.lead and (not self._events or self._events[0][0] > now):
                self._dispatch(now)
        over = self._selected == self._workload.generations
        end = now + self._site.release if over else end
        self.told.allocated_seconds += self._teams * end
        idle = sum(end - free for free in self._free.values())
        self.told.tail_seconds += idle if over else 0.0
        self.told.ends_seconds += 0.0 if over else idle

    def _at(self, time: float, event: Any) -> None:
        self._number += 1
        heapq.heappush(self._events, (time, self._number, event))

    def _bring(self, generation: int) -> None:
        expectations = self._durations[generation][1]
        jobs = [Job(generation, str(number), expectations[number]) for number in self._left[generation]]
        order = generation_order(generation, self._workload.generations, LAG)
        self._queue.add(generation, (order, 0), jobs)

    def _dispatch(self, now: float) -> None:
        for assignment in self._queue.assign(now):
            generation, number = assignment.job.feeder, int(assignment.job.key)
            whole, left = self._durations[generation][0][number], self._left[generation][number]
            size = BYTES_PER_SECOND_OF_TRAINING * whole
            writing = size / self._site.checkpoint_rate
            begin = now + self._site.gap + (writing if left < whole else 0.0)
            self._begun[assignment.id] = now
            self.told.between_seconds += begin - self._free[assignment.team[0].id]
            needed = RANK_LAST_SECONDS + writing if self._rules.by_bytes else self._site.lead / 4
            leave = max(begin, self._site.limit - needed)
            if begin + left <= leave:
                self._at(begin + left, (assignment, None))
            else:
                self._at(leave, (assignment, (leave - begin, size, writing)))

    def _end(self, assignment: Assignment, left: tuple[float, float, float] | None, now: float) -> None:
        generation, number = assignment.job.feeder, int(assignment.job.key)
        (rank,) = assignment.team
        self._free[rank.id] = now
        report = AttemptReport(result={}) if left is None else AttemptReport(error="interrupted", counts=False)
        report = dataclasses.replace(report, seconds=now - self._begun.pop(assignment.id))
        (ended,), _ = self._queue.ended(assignment.id, rank, report, now)
        self.told.charged_seconds += ended.device_seconds
        if left is not None:
            trained, size, writing = left
            self.told.interrupted += 1
            # A rank kills what has not written by half of its last seconds.
            in_time = writing <= self._site.lead / 4 - RANK_LAST_SECONDS / 2
            if trained > 2 * writing if self._rules.by_bytes else in_time:
                self.told.written_at_ends += 1
                self.told.bytes_at_ends += size
                self._left[generation][number] -= trained
            else:
                self.told.trained_again_seconds += trained
            return
        del self._left[generation][number]
        while self._selected < self._workload.generations and not self._left[self._selected]:
            self._selected += 1
            if self._selected + LAG < self._workload.generations:
                self._bred = self._selected + LAG + 1
                self._at(now + self._site.chain, self._selected + LAG)


def files() -> dict[str, float]:
    """What a candidate asks of the shared file system: measured, with its part of a shard's own calls."""
    measured = json.loads((RESULTS / "file_operations.json").read_text())
    each = {kind: value + measured["a_shard"][kind] / SHARD for kind, value in measured["a_candidate"].items()}
    return {**each, "all": sum(each.values())}


def case(site: Site, rules: Rules, each: int = EACH, teams: int = TEAMS) -> dict[str, Any]:
    """A search's figures.

    Args:
        site: what is lost beside training.
        rules: of checkpoints.
        each: candidates of a team and generation.
        teams: of one rank.
    """
    workload = dataclasses.replace(WORKLOAD, candidates=each * teams)
    search = Search(site, rules, workload, teams)
    told = search.run()
    calls, count = files(), workload.generations * workload.candidates
    seconds = told.allocated_seconds / teams
    return {
        "teams": teams,
        "candidates_a_team": each,
        **dataclasses.asdict(site),
        **dataclasses.asdict(rules),
        "busy_share": search.busy / told.allocated_seconds,
        "charged_share": told.charged_seconds / told.allocated_seconds,
        "idle_shares": {
            what: seconds / told.allocated_seconds
            for what, seconds in (
                ("staging", told.staging_seconds),
                ("between candidates", told.between_seconds),
                ("ends of allocations", told.ends_seconds),
                ("the search's end", told.tail_seconds),
                ("trained again", told.trained_again_seconds),
            )
        },
        "hours": seconds / 3600,
        "node_hours": told.allocated_seconds / RANKS_PER_NODE / 3600,
        **dataclasses.asdict(told),
        "terabytes_to_the_shared_file_system": (told.bytes_at_ends + told.bytes_by_the_clock) / 1e12,
        "file_system_calls_a_candidate": calls,
        "file_system_calls_a_second": calls["all"] * count / seconds,
    }


def main() -> int:
    before, after = Rules(by_bytes=False, on_nodes=False), Rules(by_bytes=True, on_nodes=True)
    small = Site(limit=2 * 3600.0)
    asked = {
        "after": (Site(), after),
        "before": (Site(), before),
        "8 nodes for two hours, after": (small, after, EACH, 64),
        "8 nodes for two hours, before": (small, before, EACH, 64),
        "half as many candidates, after": (Site(), after, EACH // 2),
    }
    cases = {}
    for name, arguments in asked.items():
        one = cases[name] = case(*arguments)
        print(
            f"{name}: {one['busy_share']:.1%} busy, {one['charged_share']:.1%} charged ("
            + ", ".join(f"{share:.2%} {what}" for what, share in one["idle_shares"].items())
            + f"), {one['hours']:.1f} h in {one['allocations']} allocations, "
            f"{one['node_hours']:,.0f} node-hours, {one['terabytes_to_the_shared_file_system']:,.1f} TB written "
            f"({one['bytes_at_ends'] / 1e12:.1f} at ends), {one['interrupted']:,} interrupted, "
            f"{one['trained_again_seconds'] / 3600:,.1f} h trained again, "
            f"{one['file_system_calls_a_second']:,.0f} file system calls/s",
            flush=True,
        )
        write_result("frontier_search", {"lag": LAG, "least_busy": LEAST_BUSY, "cases": cases})
    return 0 if cases["after"]["busy_share"] >= LEAST_BUSY else 1


if __name__ == "__main__":
    sys.exit(main())
