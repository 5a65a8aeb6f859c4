"""A rank of a made-up training, of which one rank misbehaves in the middle of a step."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import torch
import torch.distributed as dist

from harmony_core.training.rendezvous import World, start, stop
from harmony_core.training.watchdog import Watchdog

BAD_STEP, STEPS = 2, 4


class Agreed(Exception):
    """What all ranks leave by together."""


def misbehave(how: str) -> None:
    print(f"misbehaves at {time.time()}", file=sys.stderr, flush=True)
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "raise":
        raise ValueError("a mistake")
    elif how == "hold":
        # A regular expression that backtracks for ever keeps the interpreter to itself.
        re.match(r"(a+)+$", "a" * 60 + "b")
    elif how == "loop":
        while True:
            pass


def work(how: str, bad_rank: int, timeout: float, world: World, log: Path) -> None:
    with log.open("wb") as told:
        os.dup2(told.fileno(), sys.stderr.fileno())
    torch.set_num_threads(1)
    start(world, 20 * timeout)
    with Watchdog(world, timeout, agreed=(Agreed,)) as watchdog:
        for step in range(STEPS):
            watchdog.mark(step, "forward")
            if (step, world.rank) == (BAD_STEP, bad_rank) and how != "end":
                # Later than the watchdog's first look: before it, a rank counts as starting.
                threading.Event().wait(timeout / 10)
                misbehave(how)
            watchdog.mark(step, "reduce")
            if not world.alone:
                dist.all_reduce(torch.ones(1))
        if how == "end" and world.rank == bad_rank:
            misbehave("loop")
        if how == "late" and world.rank == bad_rank:
            # Not a failure: the others wait for it, and the store with them.
            threading.Event().wait(timeout / 2)
        if how == "agree":
            raise Agreed
    stop()
