"""The queue of an allocation as a TCP server: ranks ask for work, feeders bring it; lives outside every rank."""

from __future__ import annotations

import asyncio
import hmac
import os
import resource
import secrets
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from harmony_core.workers.address import Address, own_addresses
from harmony_core.workers.child import INTERRUPTED
from harmony_core.workers.lines import FeederLine, RankLine, ServerLine
from harmony_core.workers.task_queue import Assignment, Ended, Job, Report, TaskQueue
from harmony_core.workers.wire import MAX_GREETING_BYTES, Disconnected, Message, receive

_GREETING_SECONDS = 30.0
# Whoever has not taken what was left to say, and gone, after this long is cut off.
_GOODBYE_SECONDS = 4.0
# The end of a rank may be known before that of the srun whose death it died.
_DOUBT_SECONDS = 0.5


class QueueServer:
    """Serves a `TaskQueue` from a thread of its own.

    Args:
        team_size: ranks a task.
        silence_seconds: a rank that has not been heard of for this long is given up.
        settings: of every rank (`beat_seconds`, `preload`, `threads`), handed out with the address.
        step: asked when a rank is gone with its work, for a way to tell whether what started the ranks is still
            there. Where it is not, they went with it, and no candidate is to blame.
        seconds_left: asked once, when a rank passes on the signal ahead of the time limit: how long the
            allocation still has.
    """

    def __init__(
        self,
        *,
        team_size: int = 1,
        silence_seconds: float = 60.0,
        settings: Message | None = None,
        seconds_left: Callable[[], float] = lambda: 0.0,
        step: Callable[[], Callable[[], bool]] | None = None,
    ) -> None:
        self._queue = TaskQueue(team_size)
        self._silence, self._settings = silence_seconds, settings or {}
        self._seconds_left, self._step = seconds_left, step
        self._token = secrets.token_hex(32)
        self._ranks: dict[int, RankLine] = {}
        self._feeders: dict[int, FeederLine] = {}
        self._number = self._finished = self._num_joined = 0
        self._noticed: set[float | None] = set()
        self._warnings: dict[str, str] = {}
        self._stranded_since: float | None = None
        self._dispatching = self._closing = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._greeted: set[asyncio.Task[Any]] = set()
        self.drained = threading.Event()

    def start(self) -> Address:
        """Listens on a free port of every interface; returns where, and the token that opens it."""
        _allow_open_files()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="queue", daemon=True)
        self._thread.start()
        port = self._call(self._listen())
        node = os.environ.get("SLURMD_NODENAME", "")
        return Address(tuple(own_addresses()), port, self._token, self._settings, node)

    def stop(self) -> None:
        """Tells every rank and feeder to leave, and ends when they have heard all that was left to say."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drain(self, seconds: float) -> None:
        """Begins nothing more; what runs may go on for `seconds`. `drained` is set when nothing runs."""
        self._call(self._drain(seconds))

    def dismiss(self, why: str) -> None:
        """Sends every rank away, as when the srun that started them is gone; their attempts do not count."""
        self._call(self._dismiss(why))

    @property
    def num_ranks(self) -> int:
        """Ranks that are connected now."""
        return len(self._ranks)

    @property
    def num_joined(self) -> int:
        """Ranks that have ever connected."""
        return self._num_joined

    @property
    def finished(self) -> int:
        """Attempts that have ended so far, but for those lost with their worker: whether anything gets on."""
        return self._finished

    @property
    def stranded_seconds(self) -> float:
        """How long tasks have waited while nothing ran, no team could be formed, and nobody came or went."""
        since = self._stranded_since
        return 0.0 if since is None else time.monotonic() - since

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> int:
        server = await asyncio.start_server(self._connected, "0.0.0.0", 0, backlog=4096)
        self._server = server
        self._spawn(self._listen_for_silence())
        return int(server.sockets[0].getsockname()[1])

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._greeted.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # At once; asyncio would tell of it when it collects its garbage.
            self._loop.call_exception_handler({"message": "a connection of the queue broke", "exception": error})

    async def _close(self) -> None:
        # Whoever comes now is greeted with a goodbye.
        self._closing = True
        self._queue.drain()
        for line in [*self._ranks.values(), *self._feeders.values()]:
            line.send({"type": "bye"})
        # They leave when they have heard it. Closing here first could lose what is still on its way to them.
        if self._greeted:
            await asyncio.wait(self._greeted, timeout=_GOODBYE_SECONDS)
        self._server.close()
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Were this a coroutine, asyncio would complain of every connection that is cut off at the end.
        self._spawn(self._greet(reader, writer))

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            hello = await asyncio.wait_for(receive(reader, MAX_GREETING_BYTES), _GREETING_SECONDS)
            if not hmac.compare_digest(str(hello.get("token")).encode(), self._token.encode()):
                return
            connection = asyncio.current_task()
            assert connection is not None
            self._greeted.add(connection)
            self._number += 1
            if hello["role"] == "rank":
                await RankLine(self._number, hello, writer).serve(self, reader)
            else:
                await FeederLine(self._number, hello, writer).serve(self, reader)
        except (Disconnected, TimeoutError):
            return
        finally:
            # Gone, or given up: not `close`, which would wait until all that was sent to it is taken.
            writer.transport.abort()

    async def _listen_for_silence(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(self._silence / 4)
            now = time.monotonic()
            if now - before > self._silence / 2:
                # This process itself stood still, and has not read what came in the meantime.
                for line in self._ranks.values():
                    line.heard = now
            before = now
            for line in list(self._ranks.values()):
                if now - line.heard > self._silence:
                    self.rank_left(line, f"no sign of life from {line.rank.node} for {self._silence:g} s")
                    # Should it wake up, it finds the line cut, and comes back as another rank.
                    line.writer.transport.abort()

    # What the lines call (`lines.Listener`); all on the loop's thread.

    def rank_joined(self, line: RankLine) -> None:
        """A rank has shown the token."""
        self._ranks[line.rank.id] = line
        self._num_joined += 1
        self._welcome(line)
        self._queue.join(line.rank)
        self._dispatch_soon()

    def rank_left(self, line: RankLine, why: str, counts: bool = True) -> None:
        """A rank's connection is gone."""
        if self._ranks.pop(line.rank.id, None) is None:
            return
        seconds = 0.0 if line.began is None else time.monotonic() - line.began
        if counts and line.began is not None and self._step is not None:
            self._spawn(self._lose(line, why, seconds, self._step()))
        else:
            self._tell(*self._queue.leave(line.rank, why, counts, seconds))

    async def _lose(self, line: RankLine, why: str, seconds: float, step_lives: Callable[[], bool]) -> None:
        """Judges the loss of a rank that has work, when it is known whether it was the only one to die."""
        deadline = time.monotonic() + _DOUBT_SECONDS
        while (counts := step_lives()) and time.monotonic() < deadline:
            await asyncio.sleep(_DOUBT_SECONDS / 10)
        self._tell(*self._queue.leave(line.rank, why, counts, seconds))

    def rank_ended(self, line: RankLine, message: Message) -> None:
        """A rank's part of an attempt is over."""
        line.port, line.began = int(message["port"]), None
        report = Report(**message["report"])
        ended, broken = self._queue.ended(int(message["assignment"]), line.rank, report)
        # The partners of one that left in time are told to leave as well, and write their part of a checkpoint.
        self._tell(ended, [] if report.error == INTERRUPTED and self._queue.draining else broken)

    def noticed(self, within: float | None) -> None:
        """A rank has got a signal: all is over in `within` seconds; None is the signal ahead of the time limit."""
        # Every rank gets it and passes it on.
        if within not in self._noticed:
            self._noticed.add(within)
            self._spawn(self._drain_in_time(within))

    def warned(self, line: RankLine, text: str) -> None:
        """A rank has seen something that a person should know of; one of a node is enough."""
        if line.rank.node not in self._warnings:
            self._warnings[line.rank.node] = text
            for feeder in self._feeders.values():
                feeder.send({"type": "warning", "text": text})

    def feeder_joined(self, line: FeederLine) -> None:
        """A feeder has shown the token."""
        self._feeders[line.id] = line
        self._welcome(line)
        for text in self._warnings.values():
            line.send({"type": "warning", "text": text})

    def feeder_left(self, line: FeederLine) -> None:
        """A feeder's connection is gone: nobody wants its work any more."""
        self._feeders.pop(line.id, None)
        self._cancel(self._queue.withdraw(line.id))
        self._dispatch_soon()

    def fed(self, line: FeederLine, messages: list[Message]) -> None:
        """A feeder has brought tasks."""
        for message in messages:
            line.tasks[message["key"]] = message
        jobs = [
            Job(line.id, one["key"], one["expected_seconds"], one["attempts_before"], one["attempts"])
            for one in messages
        ]
        if self._queue.draining:
            line.send({"type": "interrupted"})
            return
        line.unfinished += len(jobs)
        self._queue.add(line.id, line.order, jobs)
        self._dispatch_soon()

    def _welcome(self, line: ServerLine) -> None:
        line.send({"type": "welcome", "time": time.time()})
        if self._closing:
            line.send({"type": "bye"})

    async def _drain_in_time(self, within: float | None) -> None:
        await self._drain(await asyncio.to_thread(self._seconds_left) if within is None else within)

    async def _drain(self, seconds: float) -> None:
        for job in self._queue.drain():
            self._feeders[job.feeder].unfinished -= 1
        for line in self._ranks.values():
            line.send({"type": "drain", "seconds": seconds})
        self._tell([], [])

    async def _dismiss(self, why: str) -> None:
        for line in list(self._ranks.values()):
            line.send({"type": "bye"})
            self.rank_left(line, why, counts=False)

    def _tell(self, ended: list[Ended], broken: list[Assignment]) -> None:
        self._cancel(broken)
        for one in ended:
            self._finished += one.report.counts
            if (feeder := self._feeders.get(one.assignment.job.feeder)) is not None:
                feeder.ended(one, self._queue.draining)
        if self._queue.draining:
            for feeder in self._feeders.values():
                feeder.interrupt_if_over()
            if self._queue.num_running == 0:
                self.drained.set()
        self._dispatch_soon()

    def _cancel(self, assignments: list[Assignment]) -> None:
        for assignment in assignments:
            for rank in assignment.team:
                if rank.id in self._ranks:
                    self._ranks[rank.id].send({"type": "cancel", "assignment": assignment.id})

    def _dispatch_soon(self) -> None:
        # Many ranks come at once: teams are formed once for all of them.
        if not self._dispatching:
            self._dispatching = True
            self._loop.call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        for assignment in self._queue.assign():
            feeder = self._feeders[assignment.job.feeder]
            leader, *partners = (self._ranks[rank.id] for rank in assignment.team)
            meeting = {"address": leader.address_for(partners), "port": leader.port}
            for number, rank in enumerate(assignment.team):
                world = {"rank": number, "size": len(assignment.team), **meeting}
                order = {"type": "assign", "assignment": assignment.id, "attempt": assignment.attempt, "world": world}
                line = self._ranks[rank.id]
                line.began = time.monotonic()
                line.send({**order, "task": feeder.tasks[assignment.job.key]})
            feeder.send({"type": "begun", "key": assignment.job.key, "attempt": assignment.attempt})
        stranded = self._queue.num_waiting > 0 and self._queue.num_running == 0
        self._stranded_since = time.monotonic() if stranded else None


def _allow_open_files() -> None:
    """A connection is an open file, and more of them are allowed than are given at first."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
