"""Who works on something, across hosts: a numbered file whose holder touches it as long as it lives.

A lease is a folder. Taking it over makes the next number's file by a hard link, which one process alone can
do; a holder that was given up (its host hung) finds the higher number and stops. On one host the kernel says
whether a holder lives; on another, only whether its file still changes, judged by the watcher's own clock.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from harmony_core.atomic import no_space, sync
from harmony_core.host import host_name

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 30.0
_RELEASED = "released"


class Held(Exception):
    """Somebody else holds the lease.

    Args:
        holder: `pid 17 on HOST`.
        same_host: whether that is this host.
    """

    def __init__(self, holder: str, same_host: bool) -> None:
        super().__init__(holder)
        self.holder, self.same_host = holder, same_host


class LeaseLost(Exception):
    """The lease was given to somebody else, since this holder seemed dead."""


class Lease:
    """An exclusive right to work on something; a context manager that waits for it.

    Args:
        folder: where its files lie; on the file system that all who may want it share.
        beat_seconds: how often the holder touches its file.
        silence_seconds: a holder on another host whose file did not change for this long is given up.
        on_lost: called from the holder's beating thread when the lease was taken over.
    """

    def __init__(
        self,
        folder: Path,
        *,
        beat_seconds: float = BEAT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._folder, self._beat, self._silence, self._on_lost = folder, beat_seconds, silence_seconds, on_lost
        self._path: Path | None = None
        self._stop = threading.Event()
        self._beats: threading.Thread | None = None

    def acquire(self) -> None:
        """Takes the lease; needs up to `silence_seconds` where a holder on another host may be dead.

        Raises:
            Held: somebody else has it and lives.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            newest = self._newest()
            if newest is not None and (holder := self._living_holder(newest)) is not None:
                raise holder
            number = _number(newest) + 1 if newest is not None else 1
            if self._claim(number):
                return

    def wait(self) -> None:
        """Takes the lease as soon as nobody else has it."""
        while True:
            try:
                return self.acquire()
            except Held:
                # Its file changes or goes on a shared file system, which tells nobody.
                time.sleep(self._beat / 4)

    def holder(self) -> Held | None:
        """Who has the lease and lives; None if nobody. May take as long as `acquire`."""
        newest = self._newest()
        return None if newest is None else self._living_holder(newest)

    def check(self) -> None:
        """Raises LeaseLost if somebody else has taken over."""
        if self._path is not None and self._newest() != self._path:
            raise LeaseLost(f"{self._folder} was taken over; this process had seemed dead")

    def release(self) -> None:
        """Gives the lease back, if it is still held."""
        self._stop.set()
        if self._beats is not None:
            self._beats.join()
        if self._path is not None and self._newest() == self._path:
            with contextlib.suppress(FileNotFoundError):
                self._path.rename(self._path.with_suffix(f".{_RELEASED}"))
        self._path = None

    def __enter__(self) -> Self:
        self.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()

    def _newest(self) -> Path | None:
        """The file with the highest number, released or not."""
        try:
            names = [path for path in self._folder.iterdir() if path.stem.isdigit()]
        except FileNotFoundError:
            return None
        return max(names, key=lambda path: (_number(path), path.suffix == f".{_RELEASED}"), default=None)

    def _claim(self, number: int) -> bool:
        """Makes the file of this number, unless somebody else was quicker."""
        path = self._folder / f"{number:06d}.json"
        draft = self._folder / f".{uuid.uuid4().hex}"
        try:
            draft.write_text(json.dumps(_me()))
            # A host that crashes now may not leave a lease that names nobody.
            sync(draft)
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise no_space(path, error) from error
        finally:
            draft.unlink(missing_ok=True)
        if self._newest() != path:
            # Others came and went while this process slept.
            path.unlink(missing_ok=True)
            return False
        self._path = path
        for old in self._folder.iterdir():
            if old.stem.isdigit() and _number(old) < number:
                old.unlink(missing_ok=True)
        self._stop.clear()
        self._beats = threading.Thread(target=self._touch, args=(path,), name="lease", daemon=True)
        self._beats.start()
        return True

    def _touch(self, path: Path) -> None:
        while not self._stop.wait(self._beat):
            try:
                os.utime(path)
                self.check()
            except (FileNotFoundError, LeaseLost):
                self._on_lost()
                return
            except OSError:
                # A shared file system has its bad moments; the next beat tries again.
                continue

    def _living_holder(self, path: Path) -> Held | None:
        if path.suffix == f".{_RELEASED}":
            return None
        try:
            owner = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            # Damaged: who it is cannot be told, whether somebody touches it can.
            return Held("an unknown process", same_host=False) if self._changes(path) else None
        told = Held(f"pid {owner['pid']} on {owner['host']}", owner["host"] == host_name())
        me = _me()
        if all(owner[name] == me[name] for name in ("host", "boot", "processes")):
            return told if _is_running(owner) else None
        return told if self._changes(path) else None

    def _changes(self, path: Path) -> bool:
        """Whether a file is touched within the silence that is allowed."""
        deadline = time.monotonic() + self._silence
        before = _touched(path)
        while before is not None and time.monotonic() < deadline:
            time.sleep(self._beat / 4)
            now = _touched(path)
            if now != before:
                return now is not None
        return False


def _touched(path: Path) -> int | None:
    """When a file was last touched, by its server's clock; opened, so that no cache answers. None if it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def _me() -> dict[str, Any]:
    process = psutil.Process()
    return {
        "host": host_name(),
        "pid": process.pid,
        "started": process.create_time(),
        "boot": _text("/proc/sys/kernel/random/boot_id"),
        # A pid means the same process only where the processes are counted together.
        "processes": _link("/proc/self/ns/pid"),
    }


def _is_running(owner: dict[str, Any]) -> bool:
    try:
        process = psutil.Process(owner["pid"])
        same = abs(process.create_time() - owner["started"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def _number(path: Path) -> int:
    return int(path.stem)
