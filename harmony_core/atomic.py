"""Files that are whole or absent: written beside their place, made durable, then renamed."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from harmony_core.errors import UserError

T = TypeVar("T")

# A shared file system gives these errors in a bad moment: a server restarts, or it has forgotten a handle.
PASSING = frozenset({errno.ESTALE, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT})
PATIENCE_SECONDS = 30.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_FREE_SPACE = "free some space and run again"
_FIXES = {
    errno.EACCES: "ask whose it is, or name another place",
    errno.EPERM: "ask whose it is, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOENT: "make it first, or name another place",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another place",
    errno.ENAMETOOLONG: "use a shorter name",
    errno.ENOSPC: _FREE_SPACE,
    errno.EDQUOT: _FREE_SPACE,
    errno.EIO: "the disk or its server fails; try again",
    errno.ESTALE: "the file server lost it; try again",
}


def atomic_write(path: Path | str, content: bytes, mode: int | None = None) -> None:
    """Writes `content` to `path` so that a reader sees the old file or the new one, never a part.

    Args:
        path: the file; its folder is made.
        content: all of it.
        mode: permissions; None leaves them to the umask.

    Raises:
        UserError: the disk or the quota is full; nothing is left behind.
    """
    with replacing(path) as temporary:
        if mode is not None:
            temporary.touch(mode)
        temporary.write_bytes(content)


@contextmanager
def replacing(path: Path | str) -> Iterator[Path]:
    """Gives a temporary path in the folder of `path`; leaving the block makes it `path`, durably.

    An exception inside the block leaves `path` as it was and removes the temporary file.

    Raises:
        UserError: the disk or the quota is full.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The dot in front keeps temporaries that a kill left behind out of every `*.parquet` pattern. The random part keeps
    # two writers of one file (a job and its requeued twin) apart.
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        sync(temporary)
        with _opened(target.parent) as folder:
            os.replace(temporary, target)
            # By its descriptor, since whoever waited for this file may already have renamed the folder.
            os.fsync(folder)
    except OSError as error:
        raise no_space(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def patiently(action: Callable[[], T], *, seconds: float | None = None, made: bool = False) -> T:
    """Does something with a file on a shared file system, and again for a while where that has a bad moment.

    Args:
        action: what to do; it may be done several times.
        seconds: for how long; the last error is raised then. None is `PATIENCE_SECONDS`.
        made: whether the file was made before, so that its absence is such a moment too: another host may not see it
            yet.
    """
    passing = PASSING | {errno.ENOENT} if made else PASSING
    deadline = time.monotonic() + (PATIENCE_SECONDS if seconds is None else seconds)
    pause = _FIRST_PAUSE
    while True:
        try:
            return action()
        except OSError as error:
            if error.errno not in passing or time.monotonic() + pause > deadline:
                raise
        # No file system says when it works again, so this asks again.
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


def no_space(path: Path, error: OSError) -> Exception:
    """The error that a person should see: a `UserError` for a full disk, the original for all else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(str(path), os.strerror(error.errno), _FREE_SPACE)
    return error


def refusal(error: OSError) -> UserError:
    """What the file system refused, as a person should see it: the path, the reason, and what may help."""
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    reason = error.strerror or str(error)
    return UserError(" -> ".join(named) or "input or output", reason, _FIXES.get(error.errno or 0, "look at it there"))


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on the disk."""
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
