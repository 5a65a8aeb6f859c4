"""Starts the processes of one training on this machine, and sees all of them to their end."""

from __future__ import annotations

import contextlib
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from harmony_core.host import dying_with, free_port, visible_gpus
from harmony_core.training.heartbeat import STOOD_STILL

# How long ranks have to say why the training ends before they are told to; and then how long before they are killed.
_GRACE_SECONDS = 15.0
_TERMINATION_SECONDS = 5.0
# Once a rank has ended well the others have this long: they leave together, their checkpoint written, and rank 0 writes
# the rows.
_LEAVING_SECONDS = 120.0
_TAIL_LINES = 15
_FORWARDED = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT)


def launch(command: Sequence[str], num_processes: int, logs: Path, threads: int = 1) -> int:
    """Runs `command` as ranks 0 to N - 1 of one world, one GPU each where there are GPUs.

    Rank 0 writes to this process's output, the others to `logs`/rank=NNN.log. SIGUSR1, SIGTERM and Ctrl-C are passed
    on. When a rank fails, the others are ended, and the one that failed first is named. Ranks die with this process.

    Args:
        command: finds its place in RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT.
        num_processes: N.
        logs: folder of the logs.
        threads: CPU threads of a rank.

    Returns:
        0 if all ranks returned 0, EX_TEMPFAIL if they were told to leave and did, otherwise the exit code of the first
        that failed (128 + N for signal N), or `STOOD_STILL` if one did not end after the others.
    """
    logs.mkdir(parents=True, exist_ok=True)
    port = free_port()
    ended: queue.SimpleQueue[int] = queue.SimpleQueue()
    ranks: list[subprocess.Popen[bytes]] = []
    with _forwarding(ranks) as told:
        try:
            for rank in range(num_processes):
                ranks.append(_start(command, rank, _environment(rank, num_processes, port, threads), logs))
                threading.Thread(target=_report_end, args=(ranks[-1], rank, ended), daemon=True).start()
            order = _until_over(ended, ranks)
        finally:
            _end(ranks)
    failed = [rank for rank in order if ranks[rank].returncode]
    if not failed and len(order) < num_processes:
        late = ", ".join(str(rank) for rank in range(num_processes) if rank not in order)
        print(f"rank {late} did not end within {_LEAVING_SECONDS:g} s of the others", file=sys.stderr, flush=True)
        return STOOD_STILL
    if not failed:
        return 0
    # A rank that dies of the signal was still importing, so nobody had begun to train.
    if all(ranks[rank].returncode in (os.EX_TEMPFAIL, *(-number for number in told)) for rank in failed):
        return os.EX_TEMPFAIL
    # The exit code of a rank says whether it ended because of another one.
    first = next((rank for rank in failed if ranks[rank].returncode not in (STOOD_STILL, os.EX_TEMPFAIL)), failed[0])
    _say_why(first, ranks[first].returncode, logs)
    return _code(ranks[first].returncode)


def log_file(logs: Path, rank: int) -> Path:
    """Where a rank writes that is not the first."""
    return logs / f"rank={rank:03d}.log"


def _environment(rank: int, size: int, port: int, threads: int) -> dict[str, str]:
    world = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    # On GPUs the threads of a rank wait for its device. On CPUs, more threads than asked for would take each other's
    # cores.
    cpu = {} if visible_gpus() else {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
    return {**os.environ, **{name: str(value) for name, value in {**world, **cpu}.items()}}


def _start(command: Sequence[str], rank: int, environment: dict[str, str], logs: Path) -> subprocess.Popen[bytes]:
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(log_file(logs, rank).open("wb")) if rank else None
        # Ranks have a session of their own: Ctrl-C in a terminal reaches this process alone, which passes it on once.
        return subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT if log else None,
            start_new_session=True,
            preexec_fn=dying_with(os.getpid()),
        )


def _report_end(process: subprocess.Popen[bytes], rank: int, ended: queue.SimpleQueue[int]) -> None:
    process.wait()
    ended.put(rank)


def _until_over(ended: queue.SimpleQueue[int], ranks: Sequence[subprocess.Popen[bytes]]) -> list[int]:
    """Waits until all ranks have ended, or one has and the others had their time; who ended, in order."""
    order: list[int] = []
    deadline = math.inf
    while len(order) < len(ranks):
        left = deadline - time.monotonic()
        try:
            order.append(ended.get(timeout=None if left == math.inf else max(left, 0.0)))
        except queue.Empty:
            break
        well = ranks[order[-1]].returncode in (0, os.EX_TEMPFAIL)
        deadline = min(deadline, time.monotonic() + (_LEAVING_SECONDS if well else _GRACE_SECONDS))
    return order


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends what still runs, first by asking; a stopped process only hears the second word."""
    deadline = time.monotonic() + _TERMINATION_SECONDS
    _signal(ranks, signal.SIGTERM)
    for rank in ranks:
        with contextlib.suppress(subprocess.TimeoutExpired):
            rank.wait(max(0.0, deadline - time.monotonic()))
    _signal(ranks, signal.SIGKILL)
    for rank in ranks:
        rank.wait()


def _signal(ranks: Sequence[subprocess.Popen[bytes]], number: int) -> None:
    for rank in ranks:
        if rank.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rank.pid, number)


@contextlib.contextmanager
def _forwarding(ranks: Sequence[subprocess.Popen[bytes]]) -> Iterator[set[int]]:
    """Passes signals on to the ranks: they decide when to leave, and this process waits for them.

    Yields the numbers of those that were passed on.
    """
    told: set[int] = set()

    def forward(number: int, _: FrameType | None) -> None:
        passed = signal.SIGTERM if number == signal.SIGINT else number
        told.add(passed)
        _signal(ranks, passed)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say_why(rank: int, code: int, logs: Path) -> None:
    said = f"rank {rank} failed with {_name(code)}"
    if rank:
        log = log_file(logs, rank)
        tail = log.read_text(errors="replace").splitlines()[-_TAIL_LINES:]
        said = "\n".join([f"{said}; the end of {log}:", *(f"  {line}" for line in tail)])
    print(said, file=sys.stderr, flush=True)


def _code(code: int) -> int:
    return 128 - code if code < 0 else code


def _name(code: int) -> str:
    if code == STOOD_STILL:
        return f"exit code {code} (the training stood still)"
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
