"""The start of a world of 16,384 ranks at one store: connections, seconds, and the memory of the process that listens.

Rank 0 is a process of its own and meets the others as it does in a training. The others are connections of a second
process, since 16,384 processes do not fit a small machine: each connects, says that it is there, and hears that all
are. They do so one after another, so that the seconds are the store's work and not a network's. Each asks for the name
of the other side's address: where no name server answers, and /etc/hosts has no line for ::ffff:127.0.0.1 (torch's
spelling of 127.0.0.1), one connection in some twenty waits 5 s.

    python -m benchmarks.rendezvous [--ranks 16384]
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import socket
import time
from datetime import timedelta
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.common import write_result
from harmony_core.host import allow_open_files, free_port
from harmony_core.training import rendezvous
from harmony_core.training.world import World

RANKS = 16_384
TIMEOUT_SECONDS = 300.0
# A start as a whole is to take no longer than the file system gives Python to that many ranks.
PROMISE_SECONDS = 60.0


def first_rank(port: int, size: int, pipe: Connection) -> None:
    """Rank 0: opens the store, waits for the others and says that all are there; then what that took."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    # It is kept until the others have heard, as by a process group.
    store = rendezvous._met(World(0, size, 0, "127.0.0.1", port), TIMEOUT_SECONDS)
    pipe.send("met")
    pipe.recv()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    pipe.send({"rank_0_cpu_seconds": cpu, "rank_0_growth_mb": (after.ru_maxrss - before.ru_maxrss) / 1024})
    del store


def _until_listening(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except ConnectionRefusedError:
            time.sleep(0.1)


def measure(size: int) -> dict[str, Any]:
    """Seconds of each part of the start of a world of `size` ranks."""
    allow_open_files()
    port, context = free_port(), multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    first = context.Process(target=first_rank, args=(port, size, theirs))
    first.start()
    try:
        worlds = [World(rank, size, 0, "127.0.0.1", port) for rank in range(1, size)]
        # Rank 0 imports torch first.
        _until_listening(port)
        stores = [rendezvous._tcp_store(worlds[0], TIMEOUT_SECONDS, is_master=False)]
        began = time.monotonic()
        stores += [rendezvous._tcp_store(world, TIMEOUT_SECONDS, is_master=False) for world in worlds[1:]]
        connected = time.monotonic()
        for world, store in zip(worlds, stores, strict=True):
            store.set(f"here/{world.rank}", "")
        said = time.monotonic()
        if not ours.poll(TIMEOUT_SECONDS):
            raise TimeoutError("rank 0 did not meet the others")
        ours.recv()
        met = time.monotonic()
        for store in stores:
            store.wait(["met"], timedelta(seconds=TIMEOUT_SECONDS))
        heard = time.monotonic()
        ours.send(None)
        told = ours.recv()
        first.join(TIMEOUT_SECONDS)
    finally:
        first.kill()
    return {
        "connections": len(stores),
        "seconds_to_connect": connected - began,
        "seconds_to_say": said - connected,
        "seconds_to_meet": met - said,
        "seconds_to_hear": heard - met,
        "seconds": heard - began,
        **told,
    }


def main() -> None:
    """Prints the figures and writes benchmarks/results/rendezvous.json; exit code 1 if the promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=RANKS)
    ranks = parser.parse_args().ranks
    figures = measure(ranks)
    write_result("rendezvous", {"ranks": ranks, "promise_seconds": PROMISE_SECONDS, **figures})
    print(", ".join(f"{name} {value:.4g}" for name, value in figures.items()))
    raise SystemExit(1 if figures["seconds"] > PROMISE_SECONDS else 0)


if __name__ == "__main__":
    main()
