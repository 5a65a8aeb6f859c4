"""What is done with what ranks and feeders say: who runs what, and who is told of it. On the loop's thread alone."""

from __future__ import annotations

import asyncio
import dataclasses
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from harmony_core.workers.attempts import Assignment, AttemptReport, Ended, Job
from harmony_core.workers.child import INTERRUPTED
from harmony_core.workers.exchange import probe_task
from harmony_core.workers.lines import FeederLine, RankLine, ServerLine
from harmony_core.workers.task_queue import TaskQueue
from harmony_core.workers.wire import Message

# A rank dies with its srun, and its end may be known before the end of that.
_DOUBT_SECONDS = 0.5
_JOB = ("key", "expected_seconds", "attempts_before", "attempts", "died_on")


class Dispatcher:
    """The `lines.Listener` of a queue server.

    Args:
        queue: who runs what next.
        spawn: runs a coroutine beside all others.
        seconds_left: as in `QueueServer`.
        step: as in `QueueServer`; None is that nobody can tell.
        probe: as in `QueueServer`.
        seconds_held: as in `QueueServer`.
    """

    def __init__(
        self,
        queue: TaskQueue,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        seconds_left: Callable[[], float],
        step: Callable[[], Callable[[], bool]] | None,
        probe: str,
        seconds_held: Callable[[], float],
    ) -> None:
        self._queue, self._spawn, self._seconds_held = queue, spawn, seconds_held
        self._seconds_left, self._step, self._probe = seconds_left, step, probe
        self.ranks: dict[int, RankLine] = {}
        self.num_joined = self.finished = 0
        self.stranded_since: float | None = None
        self.drained = threading.Event()
        self._feeders: dict[int, FeederLine] = {}
        self._noticed: set[float | None] = set()
        self._warnings: dict[str, str] = {}
        self._dispatching = self._closing = False
        self._left_out: set[str] = set()
        self._alarm: asyncio.TimerHandle | None = None
        # The newest log. All candidates write to its folder, and so does the known small task.
        self._log_folder = Path()
        self._memory_limit_gb: float | None = None

    def close(self) -> None:
        """Begins nothing more, and says goodbye to all, and to whoever comes now."""
        self._closing = True
        self._queue.drain()
        for line in [*self.ranks.values(), *self._feeders.values()]:
            line.send({"type": "bye"})

    def forget_alarm(self) -> None:
        """Looks at the clock no more."""
        if self._alarm is not None:
            self._alarm.cancel()

    async def drain(self, seconds: float) -> None:
        """As `QueueServer.drain`."""
        for job in self._queue.drain():
            self._feeders[job.feeder].unfinished -= 1
        for line in self.ranks.values():
            line.send({"type": "drain", "seconds": seconds})
        self._tell(self._queue.settle(time.monotonic()), [])

    async def dismiss(self, why: str) -> None:
        """As `QueueServer.dismiss`."""
        for line in list(self.ranks.values()):
            line.send({"type": "bye"})
            self.rank_left(line, why, counts=False)

    def rank_joined(self, line: RankLine) -> None:
        """A rank has shown the token."""
        self.ranks[line.rank.id] = line
        self.num_joined += 1
        self._welcome(line)
        self._queue.join(line.rank, self._seconds_held())
        self._dispatch_soon()

    def rank_left(self, line: RankLine, why: str, counts: bool = True) -> None:
        """A rank's connection is gone.

        Args:
            line: the connection.
            why: in words, the error of the attempt that was cut off.
            counts: whether that attempt does, against the task and the node.
        """
        if self.ranks.pop(line.rank.id, None) is None:
            return
        seconds = 0.0 if line.began is None else time.monotonic() - line.began
        if counts and line.began is not None and self._step is not None:
            self._spawn(self._lose(line, why, seconds, self._step()))
        else:
            self._tell(*self._queue.leave(line.rank, why, counts, seconds, time.monotonic()))

    async def _lose(self, line: RankLine, why: str, seconds: float, step_lives: Callable[[], bool]) -> None:
        """Judges the loss of a rank that has work, when it is known whether it was the only one to die."""
        deadline = time.monotonic() + _DOUBT_SECONDS
        while (counts := step_lives()) and time.monotonic() < deadline:
            await asyncio.sleep(_DOUBT_SECONDS / 10)
        self._tell(*self._queue.leave(line.rank, why, counts, seconds, time.monotonic()))

    def rank_ended(self, line: RankLine, message: Message) -> None:
        """A rank's part of an attempt is over."""
        line.port, line.began = int(message["port"]), None
        report = AttemptReport(**message["report"])
        ended, broken = self._queue.ended(int(message["assignment"]), line.rank, report, time.monotonic())
        # The partners of a rank that left in time are told to leave as well, and write their part of a checkpoint.
        self._tell(ended, [] if report.error == INTERRUPTED and self._queue.draining else broken)

    def noticed(self, within: float | None) -> None:
        """A rank has got a signal: all is over in `within` seconds; None is the signal ahead of the time limit."""
        # Every rank gets the signal and passes it on, so most of these are known already.
        if within not in self._noticed:
            self._noticed.add(within)
            self._spawn(self._drain_in_time(within))

    def warned(self, line: RankLine, text: str) -> None:
        """A rank has seen something that a person should know of; one of a node is enough."""
        if (key := f"clock of {line.rank.node}") not in self._warnings:
            self._warn(key, text)

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
            if log := message.get("log"):
                self._log_folder, self._memory_limit_gb = Path(log).parent, message.get("memory_limit_gb")
        jobs = [Job(line.id, **{name: one[name] for name in _JOB if name in one}) for one in messages]
        if self._queue.draining:
            line.send({"type": "interrupted"})
            return
        line.unfinished += len(jobs)
        self._queue.add(line.id, line.order, jobs, time.monotonic())
        self._dispatch_soon()

    def _welcome(self, line: ServerLine) -> None:
        line.send({"type": "welcome", "time": time.time()})
        if self._closing:
            line.send({"type": "bye"})

    async def _drain_in_time(self, within: float | None) -> None:
        await self.drain(await asyncio.to_thread(self._seconds_left) if within is None else within)

    def _tell(self, ended: list[Ended], broken: list[Assignment]) -> None:
        self._cancel(broken)
        self._tell_of_nodes()
        for one in ended:
            self.finished += one.report.counts
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
                if rank.id in self.ranks:
                    self.ranks[rank.id].send({"type": "cancel", "assignment": assignment.id})

    def _dispatch_soon(self) -> None:
        # Many ranks come at once, so teams are formed once for all of them.
        if not self._dispatching:
            self._dispatching = True
            asyncio.get_running_loop().call_soon(self._dispatch)

    def _dispatch(self) -> None:
        self._dispatching = False
        for assignment in self._queue.assign(time.monotonic()):
            if assignment.is_probe:
                self._begin_probe(assignment)
                continue
            feeder = self._feeders[assignment.job.feeder]
            leader, *partners = (self.ranks[rank.id] for rank in assignment.team)
            meeting = {"address": leader.address_for(partners), "port": leader.port}
            for number, rank in enumerate(assignment.team):
                world = {"rank": number, "size": len(assignment.team), **meeting}
                order = {"type": "assign", "assignment": assignment.id, "attempt": assignment.attempt, "world": world}
                line = self.ranks[rank.id]
                line.began = time.monotonic()
                line.send({**order, "task": feeder.tasks[assignment.job.key]})
            feeder.send({"type": "begun", "key": assignment.job.key, "attempt": assignment.attempt})
        stranded = self._queue.num_waiting > 0 and self._queue.num_running == 0
        self.stranded_since = time.monotonic() if stranded else None
        if stranded and self._queue.is_without_nodes:
            for feeder in self._feeders.values():
                feeder.send({"type": "without nodes", "left_out": self._queue.left_out})
        self._set_alarm()

    def _begin_probe(self, assignment: Assignment) -> None:
        """Gives a rank the known small task, as a team of its own."""
        (rank,) = assignment.team
        line = self.ranks[rank.id]
        task = probe_task(self._log_folder, self._probe)
        given = {**dataclasses.asdict(task), "memory_limit_gb": self._memory_limit_gb}
        given["log"] = str(self._log_folder / f"probe-{assignment.job.key}.log")
        world = {"rank": 0, "size": 1, "address": line.address, "port": line.port}
        line.began = time.monotonic()
        line.send({"type": "assign", "assignment": assignment.id, "attempt": 1, "world": world, "task": given})

    def _tell_of_nodes(self) -> None:
        """Says once of each node that it is left out, here and to every feeder."""
        for node, why in self._queue.left_out.items():
            if node not in self._left_out:
                self._left_out.add(node)
                text = f"nothing more is begun on {node}: {why}"
                print(f"warning: {text}", file=sys.stderr, flush=True)
                self._warn(node, text)

    def _warn(self, key: str, text: str) -> None:
        self._warnings[key] = text
        for feeder in self._feeders.values():
            feeder.send({"type": "warning", "text": text})

    def _set_alarm(self) -> None:
        """Looks again when the queue says that time alone may change something."""
        self.forget_alarm()
        due = self._queue.next_time()
        self._alarm = (
            None if due is None else asyncio.get_running_loop().call_later(due - time.monotonic(), self._look_again)
        )

    def _look_again(self) -> None:
        self._tell(self._queue.settle(time.monotonic()), [])
