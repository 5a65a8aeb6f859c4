"""Files that are whole or absent: written beside their place, made durable, then renamed."""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony_core.errors import UserError


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
    # A dot in front keeps a temporary that a kill left behind out of every `*.parquet` pattern; the
    # random part keeps two writers of one file (a job and its requeued twin) out of each other's way.
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex}.tmp"
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, target)
        sync(target.parent)
    except OSError as error:
        raise no_space(target, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def no_space(path: Path, error: OSError) -> Exception:
    """The error that a person should see: a `UserError` for a full disk, the original for all else."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(str(path), os.strerror(error.errno), "free some space and run again")
    return error


def sync(path: Path) -> None:
    """Waits until a file's content, or a folder's entries, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
