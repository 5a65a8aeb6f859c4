"""The connections of a queue, seen from its side: what ranks and feeders say, and what they are told."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Iterable
from typing import Protocol

from harmony_core.workers.attempts import Ended
from harmony_core.workers.formation import Rank
from harmony_core.workers.wire import Disconnected, Message, pack, receive


class Listener(Protocol):
    """Whom the lines tell what they hear: the `Dispatcher`."""

    def rank_joined(self, line: RankLine) -> None:
        """A rank has shown the token."""

    def rank_left(self, line: RankLine, why: str) -> None:
        """A rank's connection is gone."""

    def rank_ended(self, line: RankLine, message: Message) -> None:
        """A rank's part of an attempt is over."""

    def noticed(self, within: float | None) -> None:
        """A rank has got a signal: all is over in `within` seconds; None is the signal ahead of the time limit."""

    def warned(self, line: RankLine, text: str) -> None:
        """A rank has seen something that a person should know of."""

    def feeder_joined(self, line: FeederLine) -> None:
        """A feeder has shown the token."""

    def feeder_left(self, line: FeederLine) -> None:
        """A feeder's connection is gone."""

    def fed(self, line: FeederLine, messages: list[Message]) -> None:
        """A feeder has brought tasks."""


class ServerLine:
    """One connection, seen from the queue."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, message: Message) -> None:
        """Sends without waiting; a line that is gone is noticed by its reader."""
        if not self.writer.is_closing():
            self.writer.write(pack(message))


class RankLine(ServerLine):
    """A rank's connection.

    Args:
        number: the rank's id.
        hello: how it greeted.
        writer: to it.
    """

    def __init__(self, number: int, hello: Message, writer: asyncio.StreamWriter) -> None:
        super().__init__(writer)
        self.rank = Rank(number, hello["node"], hello["node_index"], hello["local"])
        self.address, self.port = str(writer.get_extra_info("peername")[0]), int(hello["port"])
        self.queue_address = str(writer.get_extra_info("sockname")[0])
        self.heard = time.monotonic()
        self.began: float | None = None

    def address_for(self, partners: Iterable[RankLine]) -> str:
        """Where the other ranks of its team reach it.

        One that came by the loopback (many hosts call themselves 127.0.1.1) is on the queue's own host, which the
        others know by the address at which they found the queue.
        """
        if not _is_loopback(self.address):
            return self.address
        known = (line.queue_address for line in partners)
        return next((address for address in known if not _is_loopback(address)), self.address)

    async def serve(self, listener: Listener, reader: asyncio.StreamReader) -> None:
        """Tells what the rank says, until it is gone."""
        listener.rank_joined(self)
        why = "what it sent makes no sense"
        try:
            while True:
                message = await receive(reader)
                self.heard = time.monotonic()
                if message["type"] == "ended":
                    listener.rank_ended(self, message)
                elif message["type"] == "notice":
                    listener.noticed(message["within"])
                elif message["type"] == "warning":
                    listener.warned(self, message["text"])
        except Disconnected as error:
            why = str(error)
        finally:
            listener.rank_left(self, f"the worker on {self.rank.node} is gone ({why})")


class FeederLine(ServerLine):
    """A feeder's connection, with the tasks it has brought; a task leaves when it is final.

    Args:
        number: the feeder's id.
        hello: how it greeted.
        writer: to it.
    """

    def __init__(self, number: int, hello: Message, writer: asyncio.StreamWriter) -> None:
        super().__init__(writer)
        self.id, self.order = number, tuple(hello["order"])
        self.tasks: dict[str, Message] = {}
        self.unfinished = 0
        self._interrupted = False

    async def serve(self, listener: Listener, reader: asyncio.StreamReader) -> None:
        """Tells what the feeder says, until it is gone."""
        listener.feeder_joined(self)
        try:
            while True:
                listener.fed(self, (await receive(reader))["tasks"])
        finally:
            listener.feeder_left(self)

    def ended(self, one: Ended, draining: bool) -> None:
        """Passes on how an attempt ended."""
        # Where the allocation is being left, an attempt that is not final does not begin again either.
        if one.final or draining:
            self.unfinished -= 1
        if one.final:
            del self.tasks[one.assignment.job.key]
        self.send(
            {
                "type": "ended",
                "key": one.assignment.job.key,
                "attempt": one.assignment.attempt,
                # `vars` and not `asdict`, which would copy a whole curve.
                "report": vars(one.report),
                "final": one.final,
                "device_seconds": one.device_seconds,
                "nodes": sorted(one.assignment.nodes),
                "left_out": one.left_out,
            }
        )

    def interrupt_if_over(self) -> None:
        """Says so, once, when nothing of this feeder's runs and nothing more of it will."""
        if self.tasks and self.unfinished == 0 and not self._interrupted:
            self._interrupted = True
            self.send({"type": "interrupted"})


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
