"""Who works on something, across hosts: a numbered file whose holder touches it as long as it lives.

A lease is a folder. Taking it over makes the next number's file by a hard link, which one process alone can
do; a holder that was given up (its host hung) finds the higher number and stops. On one host the kernel says
whether a holder lives; on another, only whether its file still changes, judged by the watcher's own clock.
A holder whose file was deleted makes it again where nobody else can have had the lease in between.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from harmony_core.atomic import no_space, patiently, sync
from harmony_core.host import host_name
from harmony_core.workers.owner import is_running, me, read_owner

BEAT_SECONDS = 2.0
SILENCE_SECONDS = 30.0
_RELEASED = "released"
# Files of a lease have these names; others may lie in its folder.
_FILE = re.compile(rf"[0-9]{{1,18}}\.(json|{_RELEASED})")


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
    """The lease is somebody else's: this holder seemed dead, or the lease's files were deleted."""


class Lease:
    """An exclusive right to work on something; a context manager that waits for it.

    Args:
        folder: where its files lie; on the file system that all who may want it share.
        beat_seconds: how often the holder touches its file.
        silence_seconds: a holder on another host whose file did not change for this long is given up.
        on_lost: called from the holder's beating thread when the lease is lost, with the reason.
    """

    def __init__(
        self,
        folder: Path,
        *,
        beat_seconds: float = BEAT_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        on_lost: Callable[[LeaseLost], None] = lambda reason: None,
    ) -> None:
        self._folder, self._beat, self._silence, self._on_lost = folder, beat_seconds, silence_seconds, on_lost
        self._path: Path | None = None
        self._stop = threading.Event()
        self._beats: threading.Thread | None = None
        # The beating thread and a check may both find the file gone.
        self._making = threading.Lock()

    def acquire(self) -> None:
        """Takes the lease; needs up to `silence_seconds` where a holder on another host may be dead.

        Raises:
            Held: somebody else has it and lives.
        """
        patiently(lambda: self._folder.mkdir(parents=True, exist_ok=True))
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
                # A shared file system does not report that the file changes or goes.
                time.sleep(self._beat / 4)

    def holder(self) -> Held | None:
        """Who has the lease and lives; None if nobody. May take as long as `acquire`."""
        newest = self._newest()
        return None if newest is None else self._living_holder(newest)

    def check(self) -> None:
        """Raises LeaseLost if somebody else has taken over, or may have; makes a file again that was deleted."""
        mine = self._path
        if mine is None:
            return
        newest = self._newest()
        if newest != mine and not (newest is None and self._make_again(mine)):
            raise self._lost(mine, newest or self._newest())

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

    def _make_again(self, path: Path) -> bool:
        """Makes the file of a lease whose folder is gone or empty: whoever had taken it since would have left one.

        Returns:
            Whether this process has the lease.
        """
        with self._making:
            if (newest := self._newest()) is not None:
                return newest == path
            try:
                patiently(lambda: self._folder.mkdir(parents=True, exist_ok=True))
                if not self._link(path):
                    # The file was there all the time, and the file system did not show it.
                    return read_owner(path) == me()
            except OSError as error:
                raise LeaseLost(f"{path} was deleted, and cannot be made again: {error}") from None
            if len(self._files()) > 1:
                # Somebody else came in the same moment, and has the right to try again.
                path.unlink(missing_ok=True)
                return False
            told = f"warning: {path} was deleted under this process, which has the lease and made it again"
            print(told, file=sys.stderr, flush=True)
            return True

    def _lost(self, mine: Path, newest: Path | None) -> LeaseLost:
        if newest is not None and _number(newest) > _number(mine):
            owner = read_owner(newest)
            by = "" if owner is None else f" by pid {owner.pid} on {owner.host}"
            return LeaseLost(f"{self._folder} was taken over{by}; this process had seemed dead")
        return LeaseLost(f"{mine} was deleted, and another process has been there since; run again when it has ended")

    def _newest(self) -> Path | None:
        """The file with the highest number, released or not."""
        return max(self._files(), key=lambda path: (_number(path), path.suffix == f".{_RELEASED}"), default=None)

    def _files(self) -> list[Path]:
        return [path for path in _entries(self._folder) if _FILE.fullmatch(path.name)]

    def _claim(self, number: int) -> bool:
        """Makes the file of this number, unless somebody else was quicker."""
        path = self._folder / f"{number:06d}.json"
        if not self._link(path):
            return False
        if self._newest() != path:
            # Others came and went while this process slept.
            path.unlink(missing_ok=True)
            return False
        self._path = path
        for old in self._files():
            if _number(old) < number:
                old.unlink(missing_ok=True)
        self._stop.clear()
        self._beats = threading.Thread(target=self._touch, args=(path,), name="lease", daemon=True)
        self._beats.start()
        return True

    def _link(self, path: Path) -> bool:
        """Makes a file with this process's name in it; False if it is there already."""
        draft = self._folder / f".{uuid.uuid4().hex}"
        try:
            draft.write_text(json.dumps(dataclasses.asdict(me())))
            # The name is on the disk before the lease is: a host that crashes now leaves no lease without one.
            sync(draft)
            os.link(draft, path)
        except FileExistsError:
            return False
        except OSError as error:
            raise no_space(path, error) from error
        finally:
            draft.unlink(missing_ok=True)
        return True

    def _touch(self, path: Path) -> None:
        while not self._stop.wait(self._beat):
            try:
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path)
                self.check()
            except LeaseLost as reason:
                self._on_lost(reason)
                return
            except OSError:
                # A shared file system has bad moments; the next beat tries again.
                continue

    def _living_holder(self, path: Path) -> Held | None:
        if path.suffix == f".{_RELEASED}":
            return None
        owner = read_owner(path)
        if owner is None:
            # The file is gone or damaged. It does not say who holds the lease, but its changes say whether somebody
            # does.
            return Held("an unknown process", same_host=False) if self._changes(path) else None
        told = Held(f"pid {owner.pid} on {owner.host}", owner.host == host_name())
        mine = me()
        if (owner.host, owner.boot, owner.processes) == (mine.host, mine.boot, mine.processes):
            return told if is_running(owner) else None
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


def _entries(folder: Path) -> list[Path]:
    """What lies in a folder; nothing, where it is not there."""
    try:
        return patiently(lambda: list(folder.iterdir()))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _touched(path: Path) -> int | None:
    """When a file was last touched, by its server's clock; opened, so that no cache answers. None if it is gone."""
    try:
        descriptor = patiently(lambda: os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        return None
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)


def _number(path: Path) -> int:
    return int(path.stem)
