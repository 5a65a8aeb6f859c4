"""Who runs what: order, teams, attempts, and that nothing is lost or run twice at once."""

from __future__ import annotations

import dataclasses
import random

import pytest

from harmony_core.workers.attempts import Assignment, AttemptReport, Ended, Job
from harmony_core.workers.formation import Rank
from harmony_core.workers.task_queue import TaskQueue


def ranks(nodes: int, each: int) -> list[Rank]:
    return [Rank(node * each + local, f"n{node}", node, local) for node in range(nodes) for local in range(each)]


def queue(nodes: int = 1, each: int = 1, team_size: int = 1) -> tuple[TaskQueue, list[Rank]]:
    made, members = TaskQueue(team_size), ranks(nodes, each)
    for rank in members:
        made.join(rank)
    return made, members


def end(made: TaskQueue, assignment: Assignment, report: AttemptReport | None = None) -> list[Ended]:
    """Every rank of a team reports the same."""
    ended: list[Ended] = []
    for rank in assignment.team:
        ended += made.ended(assignment.id, rank, report or AttemptReport(result={}))[0]
    return ended


def test_older_orders_first_then_longest() -> None:
    made, _ = queue()
    made.add(1, (1.0,), [Job(1, "late-long", 9.0)])
    made.add(2, (0.0,), [Job(2, "short", 1.0), Job(2, "long", 5.0)])
    began = []
    while assignments := made.assign():
        began += [assignment.job.key for assignment in assignments]
        for assignment in assignments:
            end(made, assignment)
    assert began == ["long", "short", "late-long"]


def test_what_a_place_was_held_for_before_it_could_begin_is_its_first_attempts() -> None:
    """Staging, of each rank of the team; a job that is interrupted has it, and a rank that comes back brings none."""
    made = TaskQueue(team_size=2)
    first, second = ranks(1, 2)
    made.join(first, 420.0)
    made.join(second, 430.0)
    made.add(1, (0.0,), [Job(1, "a"), Job(1, "b")])
    (begun,) = made.assign()
    (ended,) = end(made, begun, AttemptReport(error="interrupted", counts=False, seconds=10.0))
    assert ended.device_seconds == 2 * 10.0 + 420.0 + 430.0
    made.leave(second, "gone")
    made.join(Rank(7, second.node, second.node_index, second.local), 5000.0)
    while assignments := made.assign():
        for assignment in assignments:
            (ended,) = end(made, assignment, AttemptReport(result={}, seconds=3.0))
            assert ended.device_seconds == 2 * 3.0
    assert made.is_over


def test_a_place_without_work_is_charged_when_it_has_some() -> None:
    made = TaskQueue()
    (rank,) = ranks(1, 1)
    made.join(rank, 420.0)
    made.leave(rank, "gone")
    made.join(Rank(7, rank.node, rank.node_index, rank.local), 900.0)
    made.add(1, (0.0,), [Job(1, "a")])
    (begun,) = made.assign()
    assert [one.device_seconds for one in end(made, begun)] == [420.0]


def test_a_death_is_tried_again_and_then_final() -> None:
    made, _ = queue()
    made.add(1, (0.0,), [Job(1, "a", attempts=2)])
    (first,) = made.assign()
    (ended,) = end(made, first, AttemptReport(error="signal 9", seconds=2.0))
    assert (ended.final, ended.assignment.attempt, ended.device_seconds) == (False, 1, 2.0)
    (second,) = made.assign()
    # The last word of one node alone: the known small task must end well there first.
    assert end(made, second, AttemptReport(error="signal 9")) == []
    (probe,) = made.assign()
    assert (probe.is_probe, probe.job.key) == (True, "n0")
    (ended,) = end(made, probe)
    assert (ended.final, ended.assignment.attempt) == (True, 2)
    assert made.assign() == []
    assert made.is_over


def test_what_does_not_count_is_tried_for_ever() -> None:
    made, _ = queue()
    made.add(1, (0.0,), [Job(1, "a", attempts=1)])
    for _ in range(5):
        (assignment,) = made.assign()
        assert assignment.attempt == 1
        (ended,) = end(made, assignment, AttemptReport(error="worker gone", counts=False))
        assert not ended.final


def test_a_rank_that_leaves_gives_its_job_back() -> None:
    made, members = queue(nodes=2)
    made.add(1, (0.0,), [Job(1, "a")])
    (first,) = made.assign()
    (ended,), broken = made.leave(first.team[0], "node lost")
    assert (ended.final, broken) == (False, [])
    (second,) = made.assign()
    assert second.team[0] != first.team[0]
    # A word from beyond the grave changes nothing.
    assert made.ended(first.id, members[0], AttemptReport(result={})) == ([], [])


def test_teams_keep_to_a_node_and_leftovers_meet() -> None:
    made, _ = queue(nodes=2, each=3, team_size=2)
    made.add(1, (0.0,), [Job(1, str(number)) for number in range(9)])
    teams = [assignment.team for assignment in made.assign()]
    assert [[rank.id for rank in team] for team in teams] == [[0, 1], [2, 5], [3, 4]]


def test_a_team_larger_than_a_node_takes_neighbours() -> None:
    made, _ = queue(nodes=4, each=2, team_size=4)
    made.add(1, (0.0,), [Job(1, str(number)) for number in range(9)])
    assert [[rank.node for rank in one.team] for one in made.assign()] == [
        ["n0", "n0", "n1", "n1"],
        ["n2", "n2", "n3", "n3"],
    ]


def test_a_partners_death_stops_the_team_and_costs_one_attempt() -> None:
    made, members = queue(each=4, team_size=2)
    made.add(1, (0.0,), [Job(1, "a"), Job(1, "b")])
    first, _ = made.assign()
    ended, broken = made.leave(first.team[1], "killed")
    # Not over before the partner has stopped: it could not take other work yet.
    assert (ended, broken) == ([], [first])
    # The other team of the node may die as well: then it would look like the node's fault.
    assert made.ended(first.id, first.team[0], AttemptReport(error="its team was broken up", counts=False)) == ([], [])
    (ended_now,) = made.settle(made.next_time() or 0.0)
    assert (ended_now.report.error, ended_now.final) == ("killed", False)
    # The orphan has nobody to make a team with until another rank comes.
    assert made.assign() == []
    made.join(Rank(9, "n0", 0, 1))
    (again,) = made.assign()
    assert (again.job.key, again.attempt) == ("a", 2)
    assert {rank.id for rank in again.team} == {first.team[0].id, 9}
    assert members[0] in again.team


def test_a_feeder_that_leaves_takes_its_work_along() -> None:
    made, _ = queue(each=2)
    made.add(1, (0.0,), [Job(1, "a")])
    made.add(2, (1.0,), [Job(2, "b"), Job(2, "c")])
    running = made.assign()
    assert [one.job.key for one in made.withdraw(1)] == ["a"]
    assert end(made, running[0], AttemptReport(error="cancelled", counts=False)) == []
    assert [one.job.key for one in made.assign()] == ["c"]


def test_draining_begins_nothing_and_keeps_what_runs() -> None:
    made, _ = queue()
    made.add(1, (0.0,), [Job(1, "a", 2.0), Job(1, "b", 1.0)])
    (running,) = made.assign()
    assert [job.key for job in made.drain()] == ["b"]
    (ended,) = end(made, running, AttemptReport(error="interrupted", counts=False))
    assert not ended.final
    assert (made.assign(), made.num_waiting, made.num_running) == ([], 0, 0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("team_size", [1, 2, 3])
def test_whatever_dies_every_job_ends_once(seed: int, team_size: int) -> None:
    """Random deaths, arrivals and answers: each job has one final word, and no two teams run it at once."""
    chance = random.Random(seed)
    made, members = queue(nodes=3, each=3, team_size=team_size)
    alive, number = {rank.id: rank for rank in members}, 100
    jobs = [Job(feeder, f"{feeder}-{key}", chance.random(), attempts=1000) for feeder in (1, 2) for key in range(20)]
    for feeder in (1, 2):
        made.add(feeder, (float(feeder),), [job for job in jobs if job.feeder == feeder])
    running: dict[int, tuple[Assignment, set[int]]] = {}
    finals: list[str] = []
    # Attempts whose end was not told yet: each is told once.
    told: list[int] = []

    def hear(ended: list[Ended], broken: list[Assignment]) -> None:
        for one in ended:
            told.remove(one.assignment.id)
            finals.extend([one.assignment.job.key] if one.final else [])
        for assignment in broken:
            waiting = running[assignment.id][1]
            for rank in assignment.team:
                if rank.id in waiting:
                    waiting.discard(rank.id)
                    hear(*made.ended(assignment.id, rank, AttemptReport(error="cancelled", counts=False), now))
        for number in [number for number, (_, waiting) in running.items() if not waiting]:
            del running[number]

    now = 0.0
    for _ in range(5000):
        now += chance.random()
        hear(made.settle(now), [])
        for assignment in made.assign(now):
            told.extend([] if assignment.is_probe else [assignment.id])
            keys = [one.job.key for one, _ in running.values()]
            assert assignment.job.key not in keys
            assert all(rank.id in alive for rank in assignment.team)
            running[assignment.id] = (assignment, {rank.id for rank in assignment.team})
        if len(finals) == len(jobs):
            break
        if chance.random() < 0.1 and alive:
            rank = alive.pop(chance.choice(sorted(alive)))
            for _, waiting in running.values():
                waiting.discard(rank.id)
            hear(*made.leave(rank, "lost", now=now))
        elif chance.random() < 0.3 and len(alive) < 9:
            node = chance.randrange(3)
            rank = Rank(number, f"n{node}", node, number % 3)
            number += 1
            alive[rank.id] = rank
            made.join(rank)
        elif running:
            assignment, waiting = running[chance.choice(sorted(running))]
            if waiting:
                rank_id = chance.choice(sorted(waiting))
                waiting.discard(rank_id)
                hear(*made.ended(assignment.id, alive[rank_id], AttemptReport(result={"by": rank_id}), now))
    assert sorted(finals) == sorted(job.key for job in jobs)
    assert (told, made.is_over or bool(running)) == ([], True)


def test_jobs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Job(1, "a").key = "b"  # type: ignore[misc]
