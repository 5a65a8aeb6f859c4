"""One task of the allocation's srun: takes work from the queue and runs it in forked children, one at a time.

`python -m harmony_core.workers QUEUE_FILE`. Torch is not imported here but in the forkserver. Where several candidates
share a GPU, the task starts as many ranks as share its own, each a process as if srun had started it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from harmony_core.errors import UserError
from harmony_core.host import dying_with, free_port, visible_gpus
from harmony_core.workers.address import Address
from harmony_core.workers.attempts import AttemptReport
from harmony_core.workers.child import INTERRUPTED
from harmony_core.workers.children import Children, Setup
from harmony_core.workers.clocks import TOLERATED_SECONDS, seconds_apart, warning
from harmony_core.workers.exchange import report_of
from harmony_core.workers.gpus import own_gpu
from harmony_core.workers.mps import mps
from harmony_core.workers.orphans import give_back, gives_back
from harmony_core.workers.pool import even_share_gb
from harmony_core.workers.task import Outcome, Task
from harmony_core.workers.wire import Disconnected, Line, Message

# A child is told to leave when the time that its task asks for is left, and the last seconds beside it; where it asks
# for none, in the last quarter of what the allocation still has, or in the last seconds if those are more. It is
# killed when half of the last seconds are left. In between it writes its checkpoint.
_LAST_SHARE = 0.25
_LAST_SECONDS = 15.0
# Slurm's KillWait, unless a site changed it: whatever the time limit, SIGKILL comes so long after SIGTERM.
_KILL_WAIT_SECONDS = 30.0
_RECONNECT_SECONDS = 30.0
# Set for a rank that another rank of its task has started.
_OF_A_TASK = "HARMONY_OF_A_TASK"
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
        self._beat = float(address.settings["beat_seconds"])
        self._threads = int(address.settings["threads"])
        self._sharers = sharers_of(address)
        self._children = Children(address.settings["preload"], self._threads)
        self._assignment: int | None = None
        self._leaving: float | None = None
        self._end = self._give_up = float("inf")
        self._told_to_leave = False
        self._terminated = False
        self._notices = Notices()

    def serve(self) -> None:
        """Works until the queue says goodbye, coming back after a cut line; ConnectionError if it is gone."""
        # This comes before the queue knows of the rank: while the first child waits for imports, there is no sign of
        # life.
        self._children.wait_until_warm()
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
                self._children.kill_all()
                self._assignment = None
                line.close()

    def _greet(self) -> Line:
        before = time.time()
        line, welcome = self._address.connect({"role": "rank", **dataclasses.asdict(self._place), "port": free_port()})
        apart = seconds_apart(before, welcome["time"], time.time())
        if apart > TOLERATED_SECONDS:
            line.send({"type": "warning", "text": warning(self._place.node, apart)})
        return line

    def _turn(self, line: Line) -> bool:
        """Waits for whatever comes next, and does it; False is goodbye."""
        for message in line.arrived():
            if message["type"] == "bye":
                return False
            self._obey(message, line)
        self._end_in_time(line)
        report = self._wait(line)
        # This comes before the report: whether the allocation is being ended decides how a child's death is judged.
        self._pass_on_notices(line)
        if report is not None:
            self._report(line, report)
        line.send({"type": "beat"})
        return True

    def _wait(self, line: Line) -> AttemptReport | Outcome | None:
        """Waits until something happens or a sign of life is due; what the child left, if it ended."""
        timeout = self._beat
        if self._children.running:
            # Without a child there is nothing to give up, however late it is.
            timeout = min(timeout, max(0.0, self._give_up - time.monotonic()))
        try:
            ended = self._children.wait(timeout, [line, self._notices])
        except UserError as error:
            return AttemptReport(user_error=(error.field, str(error.value), error.fix))
        return ended[0][1] if ended else None

    def _pass_on_notices(self, line: Line) -> None:
        """The queue asks how soon the allocation ends, and tells every rank."""
        for number in self._notices.take():
            self._terminated = self._terminated or number == signal.SIGTERM
            line.send({"type": "notice", "within": _KILL_WAIT_SECONDS if number == signal.SIGTERM else None})

    def _obey(self, message: Message, line: Line) -> None:
        if message["type"] == "assign":
            self._begin(message)
        elif message["type"] == "cancel" and message["assignment"] == self._assignment:
            seconds = sum(child.seconds for child in self._children.running)
            self._children.kill_all()
            self._report(line, AttemptReport(error="its team was broken up", counts=False, seconds=seconds))
        elif message["type"] == "drain":
            # The signal may come again. The end may come nearer by it, and never moves away.
            now, seconds = time.monotonic(), message["seconds"]
            self._end = min(self._end, now + seconds)
            needed = _LAST_SHARE * seconds if self._leaving is None else _LAST_SECONDS + self._leaving
            self._give_up = min(self._give_up, now + seconds - max(_LAST_SECONDS, needed))

    def _begin(self, message: Message) -> None:
        task, world = message["task"], message["world"]
        self._assignment, self._leaving = message["assignment"], task.get("leaving_seconds")
        setup = Setup(
            log=Path(task["log"]).with_suffix(f".{world['rank']}.log" if world["rank"] else ".log"),
            threads=self._threads,
            memory_limit_gb=task["memory_limit_gb"] or even_share_gb(self._place.ranks_on_node),
            environment={**own_gpu(self._place.local, self._sharers), **_world(world)},
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

    def _report(self, line: Line, report: AttemptReport | Outcome) -> None:
        if isinstance(report, Outcome):
            report = _judged(report, interrupted=self._terminated or self._told_to_leave)
        assignment, self._assignment = self._assignment, None
        self._told_to_leave = False
        if assignment is not None:
            line.send({"type": "ended", "assignment": assignment, "report": vars(report), "port": free_port()})

    def _end_in_time(self, line: Line) -> None:
        """Ends what will not be over before the allocation is: first by asking, then at once."""
        now = time.monotonic()
        if not self._children.running or now < self._give_up:
            return
        (child,) = self._children.running
        if not self._told_to_leave:
            self._told_to_leave = True
            self._give_up = max(now, self._end - _LAST_SECONDS) + _LAST_SECONDS / 2
            child.process.terminate()
        else:
            self._children.kill(child)
            self._report(line, AttemptReport(error=INTERRUPTED, counts=False, seconds=child.seconds))


def _judged(outcome: Outcome, interrupted: bool) -> AttemptReport:
    if interrupted and outcome.result is None:
        return AttemptReport(error=INTERRUPTED, counts=False, seconds=outcome.device_seconds)
    return report_of(outcome)


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

    def take(self) -> set[int]:
        """The signals that have come since the last time."""
        try:
            return set(self._ours.recv(4096)).intersection(_NOTICES)
        except BlockingIOError:
            return set()


def sharers_of(address: Address) -> int:
    """Ranks on each GPU; one where there is none to share."""
    return int(address.settings.get("sharers", 1)) if visible_gpus() else 1


@contextlib.contextmanager
def sharing(number: int) -> Iterator[None]:
    """Starts the other ranks of this task's GPU, and returns when they have ended too.

    Args:
        number: ranks of the GPU, this one among them.
    """
    if _OF_A_TASK in os.environ:
        yield
        return
    with mps(number) as variables:
        environment = {**os.environ, **variables, _OF_A_TASK: "1"}
        os.environ.update(variables)
        command = [sys.executable, "-u", "-m", "harmony_core.workers", *sys.argv[1:]]
        others = [
            subprocess.Popen(command, env=environment, preexec_fn=dying_with(os.getpid())) for _ in range(number - 1)
        ]
        yield
        # The queue has said goodbye to them as well.
        for other in others:
            other.wait()


def main() -> None:
    """Serves the queue whose file is the only argument."""
    # A shared file system may show the file late on another node.
    address, place = Address.read(Path(sys.argv[1]), _RECONNECT_SECONDS), Place.from_environment()
    try:
        with sharing(sharers_of(address)):
            Worker(address, place).serve()
    except ConnectionError as error:
        print(f"the queue is gone: {error}", file=sys.stderr)
        if gives_back(place.node_index, place.local):
            give_back(address.node)
        sys.exit(1)
