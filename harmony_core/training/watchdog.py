"""Ends a training that stands still, and says which rank stands in the others' way.

Each rank says how far it is at points that all ranks pass in the same order. A thread of its own publishes that, with
a heartbeat, in the world's key-value store. When a rank has not moved for too long, it compares: the culprits are
those whose heart has stopped; else those that are least far, and among them those that wait for nobody.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import json
import os
import sys
import threading
import time
from datetime import timedelta
from types import TracebackType
from typing import Self

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from harmony_core.training.heartbeat import ABSENT, STOOD_STILL, Heartbeat, culprits, whereabouts
from harmony_core.training.rendezvous import World, connect, count_rank

_LONGEST_BEAT_SECONDS = 5.0
_BEATS_PER_TIMEOUT = 40
_START_SECONDS = 300.0
# After this many beats without a sign of life a rank is called dead.
_SILENT_BEATS = 4
_VERDICT = "watch/verdict"


class Watchdog:
    """Watches over this rank's part of a training; a context manager inside of a started world.

    A rank that stands still ends with exit code `STOOD_STILL` and one line on standard error, at most a third of the
    timeout after it, and at most a minute. All ranks leave the watchdog together.

    Args:
        world: this process's place.
        timeout_seconds: the longest that a rank may stay between two marks; before its first one, at least five
            minutes.
        agreed: exceptions that all ranks leave by together, which is no failure of any.
    """

    def __init__(self, world: World, timeout_seconds: float, agreed: tuple[type[Exception], ...] = ()) -> None:
        self._world, self._timeout, self._agreed = world, timeout_seconds, agreed
        self._beat_seconds = min(_LONGEST_BEAT_SECONDS, timeout_seconds / _BEATS_PER_TIMEOUT)
        self._main = threading.get_ident()
        # The main thread alone writes it, in one assignment.
        self._reached = (-1, 0, "start")
        self._moved = time.monotonic()
        self._store: TCPStore | None = None
        self._closed = threading.Event()
        self._ending = threading.Lock()

    def mark(self, step: int, phase: str) -> None:
        """Says that this rank has come to `phase` of optimiser step `step`; cheap, and no collective operation."""
        before, marks, _ = self._reached
        self._reached = (step, marks + 1 if step == before else 1, phase)
        self._moved = time.monotonic()

    def __enter__(self) -> Self:
        targets = [self._guard]
        if not self._world.alone:
            self._store = connect(self._world, self._timeout)
            self._publish(self._store, 0)
            targets.append(self._beat)
        self._moved = time.monotonic()
        self._arm()
        for target in targets:
            threading.Thread(target=target, name=target.__name__, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the watchdog; a rank that fails tells the others first, or finds out which of them is gone."""
        if self._store is not None:
            if error is None or isinstance(error, self._agreed):
                self._leave()
            elif isinstance(error, Exception):
                self._fail(error)
        self._closed.set()
        faulthandler.cancel_dump_traceback_later()

    def _guard(self) -> None:
        """Looks at this process's own clock only, and so notices even where the store is silent."""
        while not self._closed.wait(self._beat_seconds):
            self._arm()
            if time.monotonic() - self._moved > self._patience:
                self._end(self._judgement())

    def _arm(self) -> None:
        """Ends this process, with a traceback, unless armed again: the guard needs the interpreter, and this does not.

        It is for a main thread that never gives the interpreter back.
        """
        faulthandler.dump_traceback_later(2 * self._patience, exit=True, file=2)

    @property
    def _patience(self) -> float:
        """Seconds without a mark: more before the first one, while code is imported and weights are made."""
        return self._timeout if self._reached[0] >= 0 else max(self._timeout, _START_SECONDS)

    def _beat(self) -> None:
        """Publishes, and hears what another rank has found."""
        store, beat = self._store, 0
        assert store is not None
        while not self._closed.wait(self._beat_seconds):
            beat += 1
            try:
                self._publish(store, beat)
                verdict = store.get(_VERDICT).decode() if store.check([_VERDICT]) else None
            except RuntimeError:
                verdict = f"{self._holder} is gone"
            if verdict is not None and not self._closed.wait(self._beat_seconds):
                self._end(verdict)

    def _publish(self, store: TCPStore, beat: int) -> None:
        place, waiting = whereabouts(sys._current_frames().get(self._main))
        heartbeat = Heartbeat(*self._reached, beat=beat, place=place, waiting=waiting)
        store.set(f"watch/{self._world.rank}", json.dumps(dataclasses.asdict(heartbeat)))
        # Unlike `set`, `check` waits for an answer.
        store.check([_VERDICT])

    def _fail(self, error: Exception) -> None:
        """Tells the others of an error of this rank's own; an error that others caused ends it by naming them."""
        if _is_of_others(error):
            self._end(self._judgement())
        said = (str(error).splitlines() or [""])[0]
        verdict = f"rank {self._world.rank} failed: {type(error).__name__}: {said}"
        with contextlib.suppress(RuntimeError):
            self._connect().compare_set(_VERDICT, "", verdict)
        self._linger()

    def _judgement(self) -> str:
        """Who is in the way, as far as this rank can find out in bounded time."""
        if self._world.alone:
            step, _, phase = self._reached
            place, _ = whereabouts(sys._current_frames().get(self._main))
            return f"stood still in step {step} ({phase}) at {place}"
        found: list[str] = []
        # A store whose process is stopped blocks its caller for ever, so a thread asks it.
        thread = threading.Thread(target=self._judge, args=(found,), daemon=True)
        thread.start()
        thread.join((3 * _SILENT_BEATS - 1) * self._beat_seconds)
        return found[0] if found else f"{self._holder} stood still: it does not answer"

    def _judge(self, found: list[str]) -> None:
        with contextlib.suppress(RuntimeError):
            store = self._connect()
            # One rank compares for all: it reads what all have published.
            if store.add("watch/judges", 1) > 1:
                with contextlib.suppress(dist.DistError):
                    store.wait([_VERDICT])
            if not store.check([_VERDICT]):
                before = self._heartbeats(store)
                threading.Event().wait(_SILENT_BEATS * self._beat_seconds)
                store.compare_set(_VERDICT, "", culprits(before, self._heartbeats(store)))
            found.append(store.get(_VERDICT).decode())

    def _heartbeats(self, store: TCPStore) -> list[Heartbeat]:
        keys = [f"watch/{rank}" for rank in range(self._world.size)]
        return [Heartbeat(**json.loads(store.get(key))) if store.check([key]) else ABSENT for key in keys]

    def _leave(self) -> None:
        """Waits, still watched, until all ranks leave; the one that holds the store goes last."""
        self.mark(self._reached[0], "leaving")
        store = self._connect()
        count_rank(store, "watch/leaving", self._world.size)
        store.wait(["watch/leaving/all"], timedelta(seconds=2 * self._timeout))
        self._closed.set()
        count_rank(store, "watch/left", self._world.size)
        if self._holds_store:
            store.wait(["watch/left/all"], timedelta(seconds=self._timeout))

    def _connect(self) -> TCPStore:
        """A connection besides the heart's, which must go on beating: a connection serves one caller at a time."""
        return connect(self._world, (_SILENT_BEATS + 2) * self._beat_seconds)

    def _end(self, verdict: str) -> None:
        """Ends this process, whatever its main thread is doing."""
        # The lock is never released, so that the first verdict is the last word.
        self._ending.acquire()
        line = f"rank {self._world.rank} of {self._world.size} ends: {verdict} (timeout {self._timeout:g} s)\n"
        os.write(2, line.encode())
        self._linger()
        os._exit(STOOD_STILL)

    def _linger(self) -> None:
        """Lets the other ranks hear the verdict while this process still holds the store."""
        if self._holds_store:
            threading.Event().wait(3 * self._beat_seconds)

    @property
    def _holds_store(self) -> bool:
        return self._world.rank == 0 and not self._world.agent_store

    @property
    def _holder(self) -> str:
        return "torchrun's agent" if self._world.agent_store else "rank 0"


def _is_of_others(error: Exception) -> bool:
    """Whether an error is a collective operation's that failed because another rank is gone or late."""
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))
