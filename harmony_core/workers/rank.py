"""One task of the allocation's srun: takes work from the queue and runs it in forked children, one at a time.

`python -m harmony_core.workers.rank QUEUE_FILE`. Nothing heavy is imported here: the forkserver imports it,
while the rank already answers.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import socket
import sys
import time
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.machines.host import visible_gpus
from harmony_core.workers.address import Address
from harmony_core.workers.children import Children, Setup
from harmony_core.workers.pool import even_share_gb
from harmony_core.workers.task import Outcome, Task
from harmony_core.workers.task_queue import Report
from harmony_core.workers.wire import Disconnected, Line, Message

# What a child gets to write a checkpoint in, of what the allocation still has, before it is killed.
_LAST_SECONDS = 15.0
_RECONNECT_SECONDS = 30.0
_NOTICES = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in the allocation this process is (Slurm's variables)."""

    node: str
    node_index: int
    local: int
    ranks_on_node: int = 1

    @classmethod
    def from_environment(cls) -> Place:
        """As srun tells it; a process that srun did not start is alone."""
        variables = os.environ
        return cls(
            variables.get("SLURMD_NODENAME", socket.gethostname()),
            int(variables.get("SLURM_NODEID", "0")),
            int(variables.get("SLURM_LOCALID", "0")),
            int(variables.get("SLURM_NTASKS_PER_NODE", "1")),
        )


class Worker:
    """Serves one queue until it says goodbye.

    Args:
        address: of the queue.
        place: where this process is.
    """

    def __init__(self, address: Address, place: Place) -> None:
        self._address, self._place = address, place
        self._children: Children | None = None
        self._assignment: int | None = None
        self._give_up: float | None = None
        self._told_to_leave: float | None = None
        self._notices = Notices()

    def serve(self) -> None:
        """Works until the queue says goodbye, coming back after a cut line; ConnectionError if it is gone."""
        deadline = time.monotonic() + _RECONNECT_SECONDS
        while True:
            try:
                line = self._greet()
            except ConnectionError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.5)
                continue
            try:
                while self._turn(line):
                    pass
                return
            except Disconnected:
                deadline = time.monotonic() + _RECONNECT_SECONDS
            finally:
                # Whoever cut the line has given this work up.
                self._stop()
                line.close()

    def _greet(self) -> Line:
        here = dataclasses.asdict(self._place)
        line, welcome = self._address.connect({"role": "rank", **here, "port": free_port()})
        settings = welcome["settings"]
        self._beat = float(settings["beat_seconds"])
        self._threads = int(settings["threads"])
        if self._children is None:
            self._children = Children(settings["preload"], self._threads)
            self._children.warm_up()
        return line

    def _turn(self, line: Line) -> bool:
        """Waits for whatever comes next, and does it; False is goodbye."""
        assert self._children is not None
        for message in line.arrived():
            if message["type"] == "bye":
                return False
            self._obey(message, line)
        self._end_in_time(line)
        timeout = self._beat
        if self._give_up is not None:
            timeout = min(timeout, max(0.0, self._give_up - time.monotonic()))
        try:
            ended = self._children.wait(timeout, [line, self._notices])
        except UserError as error:
            self._report(line, Report(user_error=(error.field, str(error.value), error.fix)))
            ended = []
        for _, outcome in ended:
            self._report(line, _report(outcome, interrupted=self._told_to_leave is not None))
        if self._notices.take():
            # The queue asks how soon the allocation ends, and tells every rank.
            line.send({"type": "notice"})
        line.send({"type": "beat"})
        return True

    def _obey(self, message: Message, line: Line) -> None:
        assert self._children is not None
        if message["type"] == "assign":
            self._begin(message, line)
        elif message["type"] == "cancel" and message["assignment"] == self._assignment:
            seconds = sum(child.seconds for child in self._children.running)
            self._children.kill_all()
            self._report(line, Report(error="its team was broken up", counts=False, seconds=seconds))
        elif message["type"] == "drain":
            self._give_up = time.monotonic() + max(0.0, message["seconds"] - _LAST_SECONDS)

    def _begin(self, message: Message, line: Line) -> None:
        assert self._children is not None
        task, world = message["task"], message["world"]
        self._assignment = message["assignment"]
        setup = Setup(
            log=Path(task["log"]).with_suffix(f".{world['rank']}.log" if world["rank"] else ".log"),
            threads=self._threads,
            memory_limit_gb=task["memory_limit_gb"] or even_share_gb(self._place.ranks_on_node),
            environment={**_gpu(self._place.local), **_world(world)},
        )
        limit = task["time_limit_seconds"]
        one = Task(
            task["key"],
            task["target"],
            task["payload"],
            task["expected_seconds"],
            float("inf") if limit is None else limit,
        )
        self._children.start(one, message["attempt"], setup)

    def _report(self, line: Line, report: Report) -> None:
        assignment, self._assignment = self._assignment, None
        self._told_to_leave = None
        if assignment is not None:
            fields = {field.name: getattr(report, field.name) for field in dataclasses.fields(report)}
            line.send({"type": "ended", "assignment": assignment, "report": fields, "port": free_port()})

    def _end_in_time(self, line: Line) -> None:
        """Ends what will not be over before the allocation is: first by asking, then at once."""
        assert self._children is not None
        if self._give_up is None or not self._children.running:
            return
        now = time.monotonic()
        (child,) = self._children.running
        if self._told_to_leave is None and now >= self._give_up:
            self._told_to_leave = now
            self._give_up = now + _LAST_SECONDS / 2
            os.kill(child.process.pid or 0, signal.SIGTERM)
        elif self._told_to_leave is not None and now >= self._give_up:
            self._children.kill(child)
            self._report(line, Report(error="interrupted", counts=False, seconds=child.seconds))

    def _stop(self) -> None:
        if self._children is not None:
            self._children.kill_all()
        self._assignment = None


def _report(outcome: Outcome, interrupted: bool) -> Report:
    if interrupted and outcome.result is None:
        return Report(error="interrupted", counts=False, seconds=outcome.device_seconds)
    return Report(outcome.result, outcome.error, outcome.killed, outcome.counts, outcome.device_seconds)


def _gpu(local: int) -> dict[str, str]:
    """This rank's own GPU, whether Slurm shows it that one alone or all of the node's."""
    gpus = visible_gpus()
    return {"CUDA_VISIBLE_DEVICES": gpus[local % len(gpus)]} if gpus else {}


def _world(world: Message) -> dict[str, str]:
    """The team as torch.distributed reads it; every process sees one device, so its local rank is 0."""
    return {
        "RANK": str(world["rank"]),
        "WORLD_SIZE": str(world["size"]),
        "LOCAL_RANK": "0",
        "MASTER_ADDR": world["address"],
        "MASTER_PORT": str(world["port"]),
    }


class Notices:
    """Slurm's signal ahead of an end, as something that can be waited for beside connections."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
        for number in _NOTICES:
            signal.signal(number, lambda *_: None)

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._ours.fileno()

    def take(self) -> bool:
        """Whether a signal has come since the last time."""
        try:
            return bool(self._ours.recv(4096))
        except BlockingIOError:
            return False


def free_port() -> int:
    """A port that is free now, for the world of the next team that this rank may lead."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Serves the queue whose file is the only argument."""
    Worker(Address.read(Path(sys.argv[1])), Place.from_environment()).serve()


if __name__ == "__main__":
    main()
