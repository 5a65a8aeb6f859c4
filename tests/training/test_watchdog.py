"""A training that fails or hangs ends by itself, in real processes, and the right rank is named."""

from __future__ import annotations

import dataclasses
import signal
import time
from pathlib import Path

import pytest

from harmony_core.host import free_port
from harmony_core.training.heartbeat import STOOD_STILL, Heartbeat, culprits
from harmony_core.training.rendezvous import World
from tests.ranks import rank_server
from tests.training.watched import work
from tests.waiting import PATIENCE

RANKS, TIMEOUT = 4, 3.0
# Beside the timeout: a third of it for finding out, and what ending takes on a busy machine.
MARGIN = TIMEOUT / 3 + 5.0


@dataclasses.dataclass
class Ended:
    """How a rank ended, what it wrote to standard error, and when [s since the epoch]."""

    code: int | None
    told: str
    at: float

    @property
    def line(self) -> str:
        """The one line of the watch."""
        lines = [line for line in self.told.splitlines() if " ends: " in line]
        assert len(lines) == 1, self.told
        return lines[0]


def run(folder: Path, how: str, bad_rank: int, size: int = RANKS) -> list[Ended]:
    """Starts ranks and waits until they have ended; one that is stopped, which nothing in it can end, is killed."""
    context, port = rank_server(), free_port()
    logs = [folder / f"{rank}.log" for rank in range(size)]
    worlds = [World(rank, size, rank, "127.0.0.1", port) for rank in range(size)]
    calls = [(how, bad_rank, TIMEOUT, world, log) for world, log in zip(worlds, logs, strict=True)]
    ranks = [context.Process(target=work, args=call) for call in calls]
    try:
        for process in ranks:
            process.start()
        at = {}
        for rank in sorted(range(size), key=lambda rank: rank == bad_rank):
            if how == "stop" and rank == bad_rank:
                ranks[rank].kill()
            ranks[rank].join(PATIENCE)
            at[rank] = time.time()
        return [Ended(ranks[rank].exitcode, logs[rank].read_text(), at[rank]) for rank in range(size)]
    finally:
        for process in ranks:
            process.kill()
            process.join()


def misbehaved_at(ended: Ended) -> float:
    return float(ended.told.partition("misbehaves at ")[2].split()[0])


@pytest.mark.parametrize("bad", [0, 2])
@pytest.mark.parametrize(
    ("how", "verdict", "code"),
    [
        ("stop", "rank {} stood still", -signal.SIGKILL),
        ("loop", "rank {} stood still in step 2 (forward) at misbehave (watched.py", STOOD_STILL),
        ("end", "rank {} stood still in step 3 (reduce) at misbehave (watched.py", STOOD_STILL),
        ("raise", "rank {} failed: ValueError: a mistake", 1),
        ("kill", "rank {} ", -signal.SIGKILL),
    ],
)
def test_all_end_in_time_and_name_the_rank(tmp_path: Path, how: str, verdict: str, code: int, bad: int) -> None:
    ranks = run(tmp_path, how, bad)
    assert ranks[bad].code == code, ranks[bad].told
    begin = misbehaved_at(ranks[bad])
    for rank, ended in enumerate(ranks):
        assert ended.at - begin < TIMEOUT + MARGIN
        if rank != bad:
            assert ended.code == STOOD_STILL, ended.told
            assert verdict.format(bad) in ended.line


def test_a_rank_that_never_gives_the_interpreter_back_ends_too(tmp_path: Path) -> None:
    ranks = run(tmp_path, "hold", 1, size=2)
    assert "rank 1 stood still: no sign of life" in ranks[0].line
    assert "Timeout" in ranks[1].told
    assert "in misbehave" in ranks[1].told
    assert ranks[1].at - misbehaved_at(ranks[1]) < 2 * TIMEOUT + MARGIN


@pytest.mark.parametrize(("how", "code"), [("late", 0), ("agree", 1)])
def test_leaving_together_is_no_failure(tmp_path: Path, how: str, code: int) -> None:
    """Not even where one rank is a while behind, or where all leave by one exception."""
    ranks = run(tmp_path, how, 0, size=2)
    assert [ended.code for ended in ranks] == [code, code], [ended.told for ended in ranks]
    assert not any(" ends: " in ended.told for ended in ranks)


def test_a_process_alone_ends_too(tmp_path: Path) -> None:
    (alone,) = run(tmp_path, "loop", 0, size=1)
    assert alone.code == STOOD_STILL
    assert "stood still in step 2 (forward) at misbehave (watched.py" in alone.line


def heartbeat(step: int, marks: int, beat: int = 1, waiting: bool = True) -> Heartbeat:
    return Heartbeat(step, marks, "forward", beat, "step (learner.py:1)", waiting)


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ([(3, 1, 1), (3, 2, 1)], [(3, 1, 2), (3, 2, 2)], "rank 0 "),
        ([(3, 2, 1), (2, 9, 1)], [(3, 2, 2), (2, 9, 2)], "rank 1 "),
        # A heart that has stopped counts before how far its rank was.
        ([(3, 1, 1), (3, 2, 1)], [(3, 1, 2), (3, 2, 1)], "rank 1 stood still: no sign of life"),
        ([(3, 1, 1), (3, 1, 1)], [(3, 1, 2), (3, 1, 2, False)], "rank 1 "),
        ([(3, 1, 1)] * 3, [(3, 1, 2)] * 3, "ranks 0, 1, 2 "),
    ],
)
def test_who_is_to_blame(before: list[tuple[int, ...]], after: list[tuple[int, ...]], named: str) -> None:
    assert culprits([heartbeat(*one) for one in before], [heartbeat(*one) for one in after]).startswith(named)
