"""A shard's side of the queue: what it is told becomes outcomes, and no end of the queue leaves it waiting."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.workers import Task, WorkInterrupted
from harmony_core.workers import address as address_module
from harmony_core.workers.address import Address, publish
from harmony_core.workers.exchange import PROBE
from harmony_core.workers.feeder import TeamPool
from tests.workers.allocation import Feeding
from tests.workers.peers import Queue, hear


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue() as made:
        yield made


def tasks(*keys: str) -> list[Task]:
    return [Task(key, "module:function", {"name": key}, expected_seconds=1.0) for key in keys]


def test_answers_deaths_and_beginnings_are_told_as_they_come(queue: Queue, tmp_path: Path) -> None:
    rank = queue.rank()
    feeding = Feeding(queue.address, tmp_path, tasks("a"))
    order = rank.assignment()
    given = order["task"]
    assert (given["target"], given["payload"], given["time_limit_seconds"]) == ("module:function", {"name": "a"}, None)
    assert given["log"] == str(tmp_path / "logs" / "a.log")
    rank.end(order, error="signal 9", seconds=3.0)
    rank.end(rank.assignment(), error="lost its worker", counts=False)
    rank.end(rank.assignment(), result={"loss": 1.0})
    died, lost, answered = feeding.end()
    assert feeding.begun == [("a", 1), ("a", 2), ("a", 2)]
    assert (died.error, died.final, died.counts, died.device_seconds) == ("signal 9", False, True, 3.0)
    assert (lost.error, lost.final, lost.counts) == ("lost its worker", False, False)
    assert (answered.result, answered.final, answered.attempt) == ({"loss": 1.0}, True, 2)
    assert answered.task == tasks("a")[0]


def test_a_last_death_is_final(queue: Queue, tmp_path: Path) -> None:
    rank = queue.rank()
    feeding = Feeding(queue.address, tmp_path, tasks("a", "b"), attempts=1)
    for _ in range(2):
        rank.end(rank.assignment(), error="signal 9", killed=False)
        # There is no other node: this one must show that it is healthy.
        probe = rank.assignment()
        assert probe["task"]["target"] == PROBE
        assert (probe["task"]["log"], probe["world"]["size"]) == (str(tmp_path / "logs" / "probe-n0.log"), 1)
        rank.end(probe, result={})
    assert [(outcome.result, outcome.final) for outcome in feeding.end()] == [(None, True)] * 2


def test_attempts_of_earlier_runs_count(queue: Queue, tmp_path: Path) -> None:
    rank = queue.rank()
    feeding = Feeding(queue.address, tmp_path, [Task("a", "m:f", {}, attempts_before=1)])
    order = rank.assignment()
    assert order["attempt"] == 2
    rank.end(order, error="signal 9")
    assert feeding.end()[0].final


def test_a_users_mistake_is_raised_and_the_rest_withdrawn(queue: Queue, tmp_path: Path) -> None:
    first, second = queue.rank(), queue.rank(local=1)
    feeding = Feeding(queue.address, tmp_path, tasks("a", "b", "c"))
    order, other = first.assignment(), second.assignment()
    first.end(order, user_error=["disk", "full", "make room"])
    with pytest.raises(UserError, match="make room"):
        feeding.end()
    assert hear(second.line, "cancel")["assignment"] == other["assignment"]


def test_nothing_to_run_asks_nobody(tmp_path: Path) -> None:
    assert Feeding(Address(("127.0.0.1",), 1, "none"), tmp_path, []).end() == []


def test_an_announced_end_interrupts_when_all_that_runs_is_over(queue: Queue, tmp_path: Path) -> None:
    rank = queue.rank()
    feeding = Feeding(queue.address, tmp_path, tasks("a", "b"))
    order = rank.assignment()
    queue.server.drain(100.0)
    rank.end(order, result={}) if hear(rank.line, "drain") else None
    with pytest.raises(WorkInterrupted, match="the allocation ends"):
        feeding.end()
    assert [outcome.task.key for outcome in feeding.outcomes] == [order["task"]["key"]]


def test_a_queue_that_leaves_interrupts(queue: Queue, tmp_path: Path) -> None:
    rank = queue.rank()
    feeding = Feeding(queue.address, tmp_path, tasks("a"))
    rank.assignment()
    rank.line.close()
    queue.stop()
    with pytest.raises(WorkInterrupted, match="given back"):
        feeding.end()


def test_a_queue_that_is_not_there_interrupts(queue: Queue, tmp_path: Path) -> None:
    queue.stop()
    with pytest.raises(WorkInterrupted, match="does not answer"):
        Feeding(queue.address, tmp_path, tasks("a")).end()


def test_a_refused_token_interrupts(queue: Queue, tmp_path: Path) -> None:
    address = Address(queue.address.hosts, queue.address.port, "of the allocation before")
    with pytest.raises(WorkInterrupted, match="does not answer"):
        Feeding(address, tmp_path, tasks("a")).end()


@pytest.mark.parametrize("greets", [False, True])
def test_a_queue_that_dies_or_says_nothing_interrupts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, greets: bool
) -> None:
    """Whoever has the port now: it takes the connection, and then closes it or says nothing."""
    monkeypatch.setattr(address_module, "_WELCOME_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = Address(("127.0.0.1",), other.getsockname()[1], "token")
        feeding = Feeding(address, tmp_path, tasks("a"))
        with other.accept()[0] as connection:
            if greets:
                connection.sendall(b"\0\0\0\x12" + b'{"type":"welcome"}')
                connection.shutdown(socket.SHUT_WR)
            with pytest.raises(WorkInterrupted, match="is gone" if greets else "does not answer"):
                feeding.end()


def test_the_address_is_waited_for(queue: Queue, tmp_path: Path) -> None:
    path = tmp_path / "queue.json"
    with pytest.raises(TimeoutError, match="did not appear"):
        Address.read(path, 0.05)
    late = threading.Timer(0.2, path.write_text, [queue.address.to_json()])
    late.start()
    assert Address.read(path, 20.0) == queue.address
    late.join()


def test_the_token_is_for_its_owner(queue: Queue, tmp_path: Path) -> None:
    publish(queue.address, tmp_path / "queue.json")
    assert (tmp_path / "queue.json").stat().st_mode & 0o777 == 0o600
    assert queue.address.token not in repr(queue.address)


def test_a_mistake_while_an_outcome_is_recorded_ends_the_pool(queue: Queue, tmp_path: Path) -> None:
    rank = queue.rank()

    def full(task: Task, attempt: int) -> None:
        raise UserError("journal", "full", "make room")

    with pytest.raises(UserError):
        TeamPool(queue.address, (0.0,), tmp_path).run(tasks("a"), lambda outcome: None, full)
    rank.assignment()
    hear(rank.line, "cancel")
