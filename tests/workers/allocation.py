"""An allocation without Slurm: a queue in this process, ranks as the processes that srun would start."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from harmony_core.workers import Outcome, Task
from harmony_core.workers.address import ADDRESS_FILE, Address, publish
from harmony_core.workers.feeder import TeamPool
from harmony_core.workers.server import QueueServer
from tests.waiting import PATIENCE, wait_until

ROOT = Path(__file__).parents[2]
TARGETS = "tests.workers.targets"


@dataclasses.dataclass
class Allocation:
    """A queue, where it listens, and its ranks."""

    folder: Path
    server: QueueServer
    address: Address
    ranks: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)

    def start_rank(self) -> subprocess.Popen[bytes]:
        """Starts the next rank, in a session of its own: a step whose every process can be signalled."""
        place = {"SLURMD_NODENAME": "n0", "SLURM_NODEID": "0", "SLURM_LOCALID": str(len(self.ranks))}
        command = [sys.executable, "-m", "harmony_core.workers", str(self.folder / ADDRESS_FILE)]
        log = (self.folder / "ranks.log").open("ab")
        with log:
            one = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **place}, stdout=log, stderr=log, start_new_session=True
            )
        self.ranks.append(one)
        return one

    def signal_step(self, number: signal.Signals) -> None:
        """Signals every process of the ranks, as Slurm does."""
        for rank in self.ranks:
            os.killpg(rank.pid, number)


@contextlib.contextmanager
def allocation(
    folder: Path,
    num_ranks: int,
    *,
    team_size: int = 1,
    silence_seconds: float = 60.0,
    seconds_left: Callable[[], float] = lambda: 0.0,
    preload: str = TARGETS,
    sharers: int = 1,
) -> Iterator[Allocation]:
    settings = {"preload": preload, "threads": 1, "beat_seconds": 0.2, "sharers": sharers}
    server = QueueServer(
        team_size=team_size, silence_seconds=silence_seconds, settings=settings, seconds_left=seconds_left
    )
    address = server.start()
    made = Allocation(folder, server, address)
    publish(address, folder / ADDRESS_FILE)
    try:
        for _ in range(num_ranks):
            made.start_rank()
        wait_until(lambda: server.num_ranks == num_ranks * sharers, "ranks to join")
        yield made
    finally:
        server.stop()
        for rank in made.ranks:
            with contextlib.suppress(subprocess.TimeoutExpired):
                rank.wait(5.0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rank.pid, signal.SIGKILL)
            rank.wait(PATIENCE)


class Feeding:
    """A feeder in a thread, and what it has heard."""

    def __init__(
        self,
        address: Address,
        folder: Path,
        tasks: list[Task],
        order: tuple[float, ...] = (0.0,),
        attempts: int = 2,
    ) -> None:
        self.begun: list[tuple[str, int]] = []
        self.outcomes: list[Outcome] = []
        self.error: BaseException | None = None
        self._pool = TeamPool(address, order, folder / "logs", attempts=attempts)
        self._thread = threading.Thread(target=self._run, args=(tasks,), daemon=True)
        self._thread.start()

    def _run(self, tasks: list[Task]) -> None:
        try:
            self._pool.run(tasks, self.outcomes.append, lambda task, attempt: self.begun.append((task.key, attempt)))
        except Exception as error:
            self.error = error

    def end(self) -> list[Outcome]:
        """Waits until it is over; all that it heard, or its exception."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.outcomes


def task(folder: Path, key: str, function: str = "echo", expected_seconds: float = 0.0, **payload: object) -> Task:
    """A task for a child; `record` and `gate` are files by which test and child find each other."""
    files = {"record": str(folder / key), "gate": str(folder / f"{key}.gate")}
    return Task(key, f"{TARGETS}:{function}", {"name": key, **files, **payload}, expected_seconds)


def child_of(folder: Path, key: str, rank: int = 0) -> psutil.Process:
    """The process that works on a task, as soon as it does."""
    path = folder / f"{key}.{rank}"
    wait_until(path.exists, f"a child to begin {key}")
    return psutil.Process(int(path.read_text()))
