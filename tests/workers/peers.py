"""Ranks and feeders that only speak: what the queue tells them, and what it makes of their answers."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Any, Self

from harmony_core.workers.address import Address
from harmony_core.workers.server import QueueServer
from harmony_core.workers.wire import Disconnected, Line, Message
from tests.waiting import PATIENCE

REPORT = {"result": None, "error": None, "killed": False, "counts": True, "seconds": 1.0, "user_error": None}


def connect(address: Address, hello: Message) -> Line:
    line, welcome = address.connect(hello)
    assert welcome["type"] == "welcome"
    return line


def hear(line: Line, kind: str) -> Message:
    """The next message, which is of this kind."""
    message = line.receive(PATIENCE)
    assert message["type"] == kind, message
    return message


def is_cut(line: Line) -> bool:
    """Whether the line is closed, after whatever is still to be heard."""
    try:
        while True:
            line.receive(PATIENCE)
    except Disconnected as error:
        return str(error) != "timed out"


class FakeRank:
    """A connected rank without children."""

    def __init__(self, address: Address, node: int = 0, local: int = 0) -> None:
        place = {"node": f"n{node}", "node_index": node, "local": local, "ranks_on_node": 1}
        self.line = connect(address, {"role": "rank", **place, "port": 4000 + local})

    def assignment(self) -> Message:
        return hear(self.line, "assign")

    def end(self, assignment: Message, **report: Any) -> None:
        """Says how its part of an assignment ended."""
        content = {**REPORT, **report}
        self.line.send({"type": "ended", "assignment": assignment["assignment"], "report": content, "port": 5000})


class FakeFeeder:
    """A connected feeder that has brought tasks."""

    def __init__(self, address: Address, *keys: str, order: tuple[float, ...] = (0.0,), attempts: int = 2) -> None:
        self.line = connect(address, {"role": "feeder", "order": order})
        tasks = [{"key": key, "expected_seconds": 0.0, "attempts_before": 0, "attempts": attempts} for key in keys]
        self.line.send({"tasks": tasks})


class Queue:
    """A queue and those who speak to it; a context manager that closes every line and stops it."""

    def __init__(self, **options: Any) -> None:
        self.server = QueueServer(**options)
        self.address = self.server.start()
        self._open: list[Line | socket.socket] = []
        self._stopped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for one in self._open:
            one.close()
        if not self._stopped:
            self.stop()

    def stop(self) -> None:
        self._stopped = True
        self.server.stop()

    def rank(self, node: int = 0, local: int = 0) -> FakeRank:
        one = FakeRank(self.address, node, local)
        self._open.append(one.line)
        return one

    def feeder(self, *keys: str, order: tuple[float, ...] = (0.0,), attempts: int = 2) -> FakeFeeder:
        one = FakeFeeder(self.address, *keys, order=order, attempts=attempts)
        self._open.append(one.line)
        return one

    def stranger(self) -> socket.socket:
        """A connection that has not said anything."""
        one = socket.create_connection(("127.0.0.1", self.address.port), PATIENCE)
        self._open.append(one)
        return one
