"""Claims: the queue of an allocation, and as many connected ranks as this machine allows, each taking candidates.

Three processes, as in an allocation: the queue; the ranks, all in one process, since 16,384 do not fit a small machine;
the feeders of the shards, a thread each. The queue and the feeders are the real ones, ranks speak the real protocol.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import selectors
import statistics
import sys
import threading
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks.common import write_result
from harmony_core.architecture.presets import load_preset
from harmony_core.training.recipe import Recipe
from harmony_core.workers.address import Address
from harmony_core.workers.feeder import TeamPool
from harmony_core.workers.server import QueueServer
from harmony_core.workers.task import Outcome, Task
from harmony_core.workers.wire import Line, Message

CLAIMS, SHARD = 16_384, 128
ROUNDS, LARGEST_SECONDS = 3, 5.0
BEAT_SECONDS, LISTENING_SECONDS = 5.0, 10.0
TIMEOUT_SECONDS = 300.0
# Files that a process has open beside its connections.
OTHER_FILES = 300
CURVE_STEPS = 96


def most_connections() -> int:
    """As many as there are claims, or as files may be open and ports are free for them."""
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
    first, last = (int(port) for port in Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    return min(CLAIMS, files - OTHER_FILES, last - first - OTHER_FILES)


def tasks_of(shard: int, prefix: str) -> list[Task]:
    """A shard's tasks, each with what a candidate of a search carries."""
    payload = {
        "architecture": load_preset("jamba-nano").to_json(),
        "recipe": Recipe().model_dump(mode="json"),
        "data": "data/5b5ccffb2af4289d",
        "row": {"search": "nano", "generation": 0, "shard": shard, "init_seed": 1, "data_seed": 2},
        "splits": ["validation"],
        "time_limit_seconds": None,
    }
    numbers = range(shard * SHARD, (shard + 1) * SHARD)
    return [Task(f"{prefix}-{number:05d}", "none:none", payload, expected_seconds=number % 97) for number in numbers]


def answer_of(curve_steps: int) -> Message:
    """What a training answers; with a curve of 96 steps it has the 16 kB of the demo's candidates."""
    row = {f"column_{index}": index / 7 for index in range(40)}
    names = ("gradient_norm", "learning_rate", "seconds", "tokens", "train_loss")
    return {"row": row, "curve": [{name: (step + 1) / 7 for name in names} for step in range(curve_steps)]}


class Ranks:
    """Every rank of an allocation, in one process."""

    def __init__(self, address: Address, count: int, answer: Message) -> None:
        self._report = {"result": answer, "error": None, "killed": False, "counts": True, "seconds": 0.5}
        self._report["user_error"] = None
        self._lines = self._connect(address, count)
        self._selector = selectors.EpollSelector()
        for line in self._lines:
            self._selector.register(line, selectors.EVENT_READ)

    @staticmethod
    def _connect(address: Address, count: int) -> list[Line]:
        """All of them say hello before the first is welcome, as when srun starts them."""
        lines = []
        for number in range(count):
            line = Line.connect([("127.0.0.1", address.port)], TIMEOUT_SECONDS)
            place = {"node": f"n{number // 8:04d}", "node_index": number // 8, "local": number % 8, "port": 1}
            line.send({"type": "hello", "token": address.token, "role": "rank", **place})
            lines.append(line)
        for line in lines:
            assert line.receive()["type"] == "welcome"
        return lines

    def claim(self, count: int) -> tuple[dict[str, int], float]:
        """Takes that many candidates and answers each at once; how often each came, and when the last did."""
        claimed: Counter[str] = Counter()
        last = 0.0
        while claimed.total() < count:
            for key, _ in self._selector.select(TIMEOUT_SECONDS):
                line = key.fileobj
                assert isinstance(line, Line)
                # One message at a time: an idle rank is told of one task, and of the next after its answer.
                message = line.receive()
                claimed[message["task"]["key"]] += 1
                last = time.monotonic()
                line.send({"type": "beat"})
                line.send({"type": "ended", "assignment": message["assignment"], "report": self._report, "port": 1})
                line.send({"type": "beat"})
        return dict(claimed), last

    def beat(self, seconds: float) -> int:
        """Gives every rank's sign of life each `BEAT_SECONDS`, evenly spread; returns how many."""
        began, sent = time.monotonic(), 0
        while (passed := time.monotonic() - began) < seconds:
            due = int(passed / BEAT_SECONDS * len(self._lines))
            for number in range(sent, due):
                self._lines[number % len(self._lines)].send({"type": "beat"})
            sent = due
            time.sleep(0.01)
        return sent


def serve_ranks(address: Address, count: int, curve_steps: int, pipe: Connection) -> None:
    """The ranks' process: does what it is told through the pipe, and says what came of it."""
    ranks = Ranks(address, count, answer_of(curve_steps))
    pipe.send(count)
    while (order := pipe.recv()) is not None:
        name, argument = order
        pipe.send(getattr(ranks, name)(argument))


class Feeders:
    """Every shard of a round, a thread each, and what they heard."""

    def __init__(self, address: Address, prefix: str) -> None:
        self._address = address
        self._shards = [tasks_of(shard, prefix) for shard in range(CLAIMS // SHARD)]
        self._lock = threading.Lock()
        self.begun: Counter[str] = Counter()
        self.finals: Counter[str] = Counter()

    def run(self) -> tuple[float, float]:
        """Brings all tasks and waits for all answers; when that began and ended."""
        threads = [threading.Thread(target=self._feed, args=one) for one in enumerate(self._shards)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return began, time.monotonic()

    def _feed(self, shard: int, tasks: list[Task]) -> None:
        TeamPool(self._address, (0, shard), Path("logs")).run(tasks, self._on_outcome, self._on_begin)

    def _on_begin(self, task: Task, attempt: int) -> None:
        with self._lock:
            self.begun[task.key] += 1

    def _on_outcome(self, outcome: Outcome) -> None:
        with self._lock:
            self.finals[outcome.task.key] += outcome.final


def serve_feeders(address: Address, pipe: Connection) -> None:
    """The shards' process: feeds a round when told to, and says when it began and ended, and what it heard."""
    while (prefix := pipe.recv()) is not None:
        feeders = Feeders(address, prefix)
        began, ended = feeders.run()
        pipe.send((began, ended, dict(feeders.begun), dict(feeders.finals)))


def measure(connections: int, curve_steps: int) -> dict[str, Any]:
    """Rounds of claims over one set of connections; the times in seconds."""
    server = QueueServer(settings={"preload": "none", "threads": 1, "beat_seconds": BEAT_SECONDS})
    address = server.start()
    context = multiprocessing.get_context("spawn")
    ranks, theirs = context.Pipe()
    feeders, others = context.Pipe()
    helpers = [
        context.Process(target=serve_ranks, args=(address, connections, curve_steps, theirs)),
        context.Process(target=serve_feeders, args=(address, others)),
    ]
    for helper in helpers:
        helper.start()
    try:
        began = time.monotonic()
        assert hear(ranks) == connections
        joining = time.monotonic() - began
        rounds = [claims(ranks, feeders, f"round{number}") for number in range(ROUNDS)]
        idle = os.times()
        ranks.send(("beat", LISTENING_SECONDS))
        beats = hear(ranks)
        after = os.times()
        ranks.send(None)
        feeders.send(None)
        for helper in helpers:
            helper.join(TIMEOUT_SECONDS)
    finally:
        for helper in helpers:
            helper.kill()
        server.stop()
    return {
        "seconds_to_join": joining,
        "rounds": rounds,
        "beats_per_second": beats / LISTENING_SECONDS,
        "queue_share_of_a_core_on_beats": (after.user + after.system - idle.user - idle.system) / LISTENING_SECONDS,
    }


def claims(ranks: Connection, feeders: Connection, prefix: str) -> dict[str, float]:
    """One round: every candidate of every shard, each claimed once."""
    used = os.times()
    ranks.send(("claim", CLAIMS))
    feeders.send(prefix)
    first, last, begun, finals = hear(feeders)
    claimed, last_claim = hear(ranks)
    now = os.times()
    once = {task.key: 1 for shard in range(CLAIMS // SHARD) for task in tasks_of(shard, prefix)}
    for name, counts in (("claimed", claimed), ("told of", begun), ("over", finals)):
        wrong = {key: counts.get(key, 0) for key in {*once, *counts} if counts.get(key, 0) != once.get(key)}
        assert not wrong, f"{len(wrong)} candidates were not {name} exactly once: {sorted(wrong.items())[:5]}"
    return {
        "seconds_to_claim": last_claim - first,
        "seconds_to_end": last - first,
        "claims_per_second": CLAIMS / (last - first),
        "queue_cpu_seconds": now.user + now.system - used.user - used.system,
    }


def hear(pipe: Connection) -> Any:
    """The next message of a helper; an error if it does not come."""
    if not pipe.poll(TIMEOUT_SECONDS):
        raise TimeoutError(f"no answer in {TIMEOUT_SECONDS:g} s")
    return pipe.recv()


def main() -> int:
    connections = most_connections()
    figures = {
        name: measure(connections, curve_steps)
        for name, curve_steps in (("short_answers", 0), ("whole_curves", CURVE_STEPS))
    }
    write_result("queue_claims", {"claims": CLAIMS, "connections": connections, "promise": LARGEST_SECONDS, **figures})
    for name, one in figures.items():
        slowest = max(round_["seconds_to_end"] for round_ in one["rounds"])
        print(f"{name}: {CLAIMS} claims over {connections} connections in {slowest:.1f} s (promised {LARGEST_SECONDS})")
    ends = [round_["seconds_to_end"] for round_ in figures["short_answers"]["rounds"]]
    return 0 if statistics.median(ends) <= LARGEST_SECONDS else 1


if __name__ == "__main__":
    sys.exit(main())
