"""Whose fault a death is: sick nodes, sick candidates and lost ones, on a virtual clock."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable

import pytest

from harmony_core.workers.attempts import Assignment, AttemptReport, Ended, Job
from harmony_core.workers.exchange import PROBE_SECONDS
from harmony_core.workers.formation import Rank
from harmony_core.workers.health import WINDOW_SECONDS
from harmony_core.workers.task import MACHINE, OUTSIDE
from harmony_core.workers.task_queue import PATIENCE_SECONDS, TaskQueue

SECONDS = 10.0
DEAD = AttemptReport(error="exit code 1", seconds=0.3)
KILLED = AttemptReport(error="killed by signal 9", seconds=0.3, cause=OUTSIDE)
FULL = AttemptReport(error="OSError: [Errno 28] No space left on device", seconds=0.3, cause=MACHINE)
WELL = AttemptReport(result={}, seconds=SECONDS)
FEEDER = 1

# How an attempt ends: a report, whose `seconds` say when.
Ends = Callable[[Assignment], AttemptReport]


@dataclasses.dataclass
class Told:
    """What an allocation told its feeder, and when it was over."""

    queue: TaskQueue
    ended: list[Ended] = dataclasses.field(default_factory=list)
    begun: list[tuple[float, str, str]] = dataclasses.field(default_factory=list)
    probes: list[str] = dataclasses.field(default_factory=list)
    seconds: float = 0.0

    def of(self, key: str) -> list[Ended]:
        return [one for one in self.ended if one.assignment.job.key == key]

    @property
    def crashed(self) -> list[str]:
        return sorted(one.assignment.job.key for one in self.ended if one.final and one.report.result is None)

    @property
    def well(self) -> list[str]:
        return sorted(one.assignment.job.key for one in self.ended if one.final and one.report.result is not None)

    def nodes(self, key: str) -> list[str]:
        return [node for _, name, node in self.begun if name == key]


def play(ends: Ends, *, nodes: int = 2, each: int = 1, jobs: int = 6, attempts: int = 2, team_size: int = 1) -> Told:
    """Runs jobs to the end on a clock of its own; every rank of a team reports what `ends` says."""
    queue = TaskQueue(team_size)
    told = Told(queue)
    for index in range(nodes * each):
        queue.join(Rank(index, f"n{index // each}", index // each, index % each))
    queue.add(FEEDER, (0.0,), [Job(FEEDER, f"c{number}", attempts=attempts) for number in range(jobs)])
    events: list[tuple[float, int, Assignment, AttemptReport]] = []
    now = 0.0
    while not (queue.is_over or (queue.is_without_nodes and not events)):
        assert len(told.ended) < 20 * jobs, "it does not end"
        for assignment in queue.assign(now):
            report = ends(assignment)
            heapq.heappush(events, (now + report.seconds, assignment.id, assignment, report))
            where = told.probes if assignment.is_probe else None
            for node in sorted(assignment.nodes):
                where.append(node) if where is not None else told.begun.append((now, assignment.job.key, node))
        due = queue.next_time()
        if events and (due is None or events[0][0] <= due):
            now, _, assignment, report = heapq.heappop(events)
            for rank in assignment.team:
                told.ended += queue.ended(assignment.id, rank, report, now)[0]
        else:
            assert due is not None, "nothing happens any more"
            now = due
        told.ended += queue.settle(now)
    told.seconds = now
    return told


def on(assignment: Assignment, node: str) -> bool:
    return node in assignment.nodes


class TestOneSickNode:
    @pytest.mark.parametrize("team_size", [1, 2])
    def test_it_is_left_out_and_costs_nobody_an_attempt(self, team_size: int) -> None:
        told = play(lambda one: DEAD if on(one, "n0") else WELL, each=2, team_size=team_size)
        assert told.well == [f"c{number}" for number in range(6)]
        assert not any(one.report.counts for one in told.ended if one.report.result is None)
        assert {one.assignment.attempt for one in told.ended} == {1}
        assert told.probes == ["n0"]
        assert told.queue.left_out == {"n0": "a known small task fails there too (exit code 1)"}
        # A black hole is closed before it has eaten much.
        assert len(told.ended) - 6 <= 4
        left = next(one for one in told.ended if one.left_out)
        assert left.left_out is not None
        assert left.left_out[0] == "n0"
        assert "n0 is left out" in (left.report.error or "")

    def test_a_probe_that_hangs_is_a_node_that_is_sick(self) -> None:
        hangs = AttemptReport(error="killed at its time limit", killed=True, seconds=PROBE_SECONDS)
        told = play(lambda one: WELL if on(one, "n1") else hangs if one.is_probe else DEAD)
        assert told.well == [f"c{number}" for number in range(6)]
        assert "killed at its time limit" in told.queue.left_out["n0"]
        assert not any(one.report.counts for one in told.ended if one.report.result is None)

    def test_an_error_of_the_machine_needs_no_probe(self) -> None:
        told = play(lambda one: FULL if on(one, "n0") else WELL)
        assert told.well == [f"c{number}" for number in range(6)]
        assert told.probes == []
        assert "No space left" in told.queue.left_out["n0"]
        assert len(told.nodes("c0")) == 2

    def test_a_partner_that_dies_of_it_first_is_not_to_blame(self) -> None:
        """Of a team on two nodes the one whose disk is full is left out, whoever is heard first."""
        queue = TaskQueue(2)
        first, second = Rank(0, "n0", 0, 0), Rank(1, "n1", 1, 0)
        for rank in (first, second):
            queue.join(rank)
        queue.add(FEEDER, (0.0,), [Job(FEEDER, "a")])
        (one,) = queue.assign()
        queue.ended(one.id, first, AttemptReport(error="Connection closed by peer"))
        (ended,), _ = queue.ended(one.id, second, FULL)
        assert list(queue.left_out) == ["n1"]
        assert not ended.report.counts

    def test_when_every_node_is_sick_nothing_is_begun_and_nobody_crashed(self) -> None:
        told = play(lambda one: DEAD)
        assert told.queue.is_without_nodes
        assert sorted(told.queue.left_out) == ["n0", "n1"]
        assert (told.crashed, told.well) == ([], [])
        assert told.queue.num_waiting == 6
        assert told.queue.assign(told.seconds + 1e6) == []

    def test_it_stays_left_out_for_ranks_that_come_later(self) -> None:
        told = play(lambda one: FULL, jobs=2, nodes=1)
        told.queue.join(Rank(9, "n0", 0, 0))
        assert told.queue.assign(told.seconds) == []
        told.queue.join(Rank(10, "n5", 5, 0))
        assert [one.team[0].node for one in told.queue.assign(told.seconds)] == ["n5"]


class TestSickCandidates:
    @pytest.mark.parametrize("nodes", [1, 2, 4])
    @pytest.mark.parametrize("each", [1, 4])
    def test_a_fault_in_half_of_them_leaves_no_node_out(self, nodes: int, each: int) -> None:
        def ends(one: Assignment) -> AttemptReport:
            return DEAD if not one.is_probe and int(one.job.key[1:]) % 2 else WELL

        told = play(ends, nodes=nodes, each=each, jobs=20)
        assert told.queue.left_out == {}
        assert told.crashed == sorted(f"c{number}" for number in range(1, 20, 2))
        assert told.well == sorted(f"c{number}" for number in range(0, 20, 2))
        assert told.probes
        for key in told.crashed:
            assert all(one.report.counts for one in told.of(key))
            # A third one where the other node was not free in time.
            assert 2 <= len(told.of(key)) <= 3
            assert len(set(told.nodes(key))) == min(nodes, 2)

    def test_a_death_alone_is_judged_when_nothing_more_can_be_learned(self) -> None:
        told = play(lambda one: WELL if one.is_probe or one.attempt == 2 else DEAD, jobs=1, nodes=1)
        assert (told.well, told.probes) == (["c0"], [])
        assert told.seconds < SECONDS + 1

    def test_a_death_alone_waits_for_company_while_others_run(self) -> None:
        told = play(lambda one: DEAD if one.job.key == "c0" and one.attempt == 1 else WELL, nodes=1, each=2)
        assert told.probes == []
        again = [at for at, key, _ in told.begun if key == "c0"][1]
        assert again >= WINDOW_SECONDS

    def test_a_time_that_passes_between_looking_and_asking_is_not_forgotten(self) -> None:
        queue = TaskQueue()
        ranks = [Rank(index, "n0", 0, index) for index in range(2)]
        for rank in ranks:
            queue.join(rank)
        queue.add(FEEDER, (0.0,), [Job(FEEDER, "a"), Job(FEEDER, "b")])
        one, _ = queue.assign(0.0)
        queue.ended(one.id, one.team[0], DEAD, 0.0)
        # A moment too early, and then the clock has passed it.
        assert queue.settle(WINDOW_SECONDS - 1e-6) == []
        queue.assign(WINDOW_SECONDS + 1.0)
        assert queue.next_time() == WINDOW_SECONDS
        assert len(queue.settle(WINDOW_SECONDS + 1.0)) == 1

    def test_one_attempt_is_one_attempt(self) -> None:
        told = play(lambda one: WELL if one.is_probe else DEAD, jobs=1, attempts=1)
        assert len(told.of("c0")) == 1
        assert told.crashed == ["c0"]
        assert told.probes == ["n0"]


class TestWhereItIsTriedAgain:
    def test_on_another_node_although_that_is_busy_for_a_while(self) -> None:
        told = play(lambda one: DEAD if one.job.key == "c0" and one.attempt == 1 else WELL, jobs=2)
        assert told.nodes("c0") == ["n0", "n1"]

    def test_on_the_same_node_where_there_is_no_other(self) -> None:
        told = play(lambda one: DEAD if one.job.key == "c0" and one.attempt == 1 else WELL, jobs=3, nodes=1)
        assert told.nodes("c0") == ["n0", "n0"]
        # Behind the others: what was bad a moment ago may be better later.
        assert [key for _, key, _ in told.begun] == ["c0", "c1", "c2", "c0"]

    def test_on_the_same_node_when_the_other_one_is_not_free_for_long(self) -> None:
        long = AttemptReport(result={}, seconds=3600.0)

        def ends(one: Assignment) -> AttemptReport:
            if one.job.key == "c1":
                return long
            return DEAD if one.job.key == "c0" and one.attempt < 3 else WELL

        told = play(ends, jobs=2)
        times = [at for at, key, _ in told.begun if key == "c0"]
        assert told.nodes("c0") == ["n0", "n0", "n1"]
        assert PATIENCE_SECONDS <= times[1] <= PATIENCE_SECONDS + WINDOW_SECONDS + 1
        # The word that would be the last is another node's, however long that takes.
        assert times[2] >= 3600.0
        assert told.well == ["c0", "c1"]

    def test_older_orders_go_before_even_after_a_death(self) -> None:
        queue = TaskQueue()
        rank = Rank(0, "n0", 0, 0)
        queue.join(rank)
        queue.add(1, (0.0,), [Job(1, "old")])
        (one,) = queue.assign()
        queue.add(2, (1.0,), [Job(2, "new")])
        queue.ended(one.id, rank, DEAD)
        queue.settle(WINDOW_SECONDS)
        (again,) = queue.assign(WINDOW_SECONDS)
        assert again.job.key == "old"

    def test_what_died_before_a_restart_goes_elsewhere_too(self) -> None:
        queue = TaskQueue()
        for index in range(2):
            queue.join(Rank(index, f"n{index}", index, 0))
        queue.add(FEEDER, (0.0,), [Job(FEEDER, "a", attempts_before=1, died_on=("n0",))])
        (one,) = queue.assign()
        assert (one.attempt, one.team[0].node) == (2, "n1")
        ended, _ = queue.ended(one.id, one.team[0], DEAD)
        assert [end.final for end in ended] == [True]


class TestFromOutside:
    @pytest.mark.parametrize(("report", "attempts"), [(KILLED, 3), (DEAD, 2)])
    def test_a_third_try_on_the_only_node(self, report: AttemptReport, attempts: int) -> None:
        told = play(lambda one: report if one.job.key == "c0" else WELL, nodes=1)
        assert told.crashed == ["c0"]
        assert len(told.of("c0")) == attempts

    def test_two_nodes_are_two_words(self) -> None:
        told = play(lambda one: KILLED if one.job.key == "c0" else WELL)
        assert told.crashed == ["c0"]
        assert sorted(told.nodes("c0")) == ["n0", "n1"]

    def test_a_node_that_is_lost_with_several_costs_them_nothing(self) -> None:
        queue = TaskQueue()
        ranks = [Rank(index, f"n{index // 4}", index // 4, index % 4) for index in range(8)]
        for rank in ranks:
            queue.join(rank)
        queue.add(FEEDER, (0.0,), [Job(FEEDER, f"c{number}", attempts=1) for number in range(8)])
        given = {one.team[0].id: one for one in queue.assign(0.0)}
        ended: list[Ended] = []
        for rank in ranks[:4]:
            ended += queue.leave(rank, "gone", now=1.0)[0]
        assert ended == []
        ended = queue.settle(1.0 + WINDOW_SECONDS)
        assert sorted(one.assignment.job.key for one in ended) == sorted(given[rank.id].job.key for rank in ranks[:4])
        assert not any(one.final or one.report.counts for one in ended)
        assert "n0 is lost" in (ended[0].report.error or "")

    def test_a_rank_that_is_lost_alone_is_an_attempt(self) -> None:
        queue = TaskQueue()
        rank = Rank(0, "n0", 0, 0)
        queue.join(rank)
        queue.add(FEEDER, (0.0,), [Job(FEEDER, "a")])
        queue.assign()
        (ended,), _ = queue.leave(rank, "gone", now=1.0)
        assert (ended.report.counts, ended.final) == (True, False)


class TestProbes:
    def test_nothing_else_is_begun_on_a_node_that_is_in_doubt(self) -> None:
        slow = dataclasses.replace(DEAD, seconds=50.0)
        told = play(lambda one: WELL if on(one, "n1") else slow if one.is_probe else DEAD, each=4, jobs=40)
        # Four ranks, and who takes a place before the probe's answer.
        assert len([one for one in told.begun if one[2] == "n0"]) <= 8
        assert told.crashed == []

    def test_a_probe_that_is_cut_off_says_nothing_and_is_done_again(self) -> None:
        cut = [AttemptReport(error="the worker that forked it died", counts=False, seconds=0.1)]

        def ends(one: Assignment) -> AttemptReport:
            if one.is_probe:
                return cut.pop() if cut else WELL
            return DEAD if one.job.key in ("c0", "c1") else WELL

        told = play(ends, nodes=1)
        assert told.probes[:2] == ["n0", "n0"]
        assert (told.crashed, told.queue.left_out) == (["c0", "c1"], {})

    def test_an_end_that_is_announced_judges_what_is_open_and_blames_nobody_in_doubt(self) -> None:
        queue = TaskQueue()
        ranks = [Rank(index, "n0", 0, index) for index in range(2)]
        for rank in ranks:
            queue.join(rank)
        queue.add(FEEDER, (0.0,), [Job(FEEDER, "a"), Job(FEEDER, "b"), Job(FEEDER, "c")])
        for one in queue.assign():
            queue.ended(one.id, one.team[0], DEAD)
        assert [job.key for job in queue.drain()] == ["c"]
        ended = queue.settle()
        assert [(one.final, one.report.counts) for one in ended] == [(False, False)] * 2
        assert queue.assign() == []
