"""Folders that are whole or absent, however many processes make them at once and whenever they die."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harmony_core.errors import UserError

_ENVIRONMENT = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOTDIR,
    errno.EEXIST,
}


@contextmanager
def staged_folder(target: Path) -> Iterator[Path]:
    """Yields a new folder that becomes `target` at the end, unless another process was first.

    Everything is on disk before the rename. An exception leaves nothing behind; what a killed process left
    is removed by the next one on that host.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _remove_orphans(target)
        temporary = target.parent / f"{_prefix(target)}{os.getpid()}.{secrets.token_hex(4)}"
        temporary.mkdir()
        try:
            yield temporary
            _sync(temporary)
            _rename(temporary, target)
            _sync(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        if error.errno not in _ENVIRONMENT:
            raise
        fix = "make room or name a folder that can be written; nothing half-written was left"
        raise UserError(str(target.parent), os.strerror(error.errno or 0), fix) from error


def write_synced(path: Path, content: bytes) -> None:
    """Writes a file and waits until it is on disk."""
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _prefix(target: Path) -> str:
    return f".{target.name}.{socket.gethostname()}."


def _remove_orphans(target: Path) -> None:
    """Removes folders of processes of this host that are no more."""
    for folder in target.parent.glob(f"{_prefix(target)}*"):
        pid = folder.name.removeprefix(_prefix(target)).partition(".")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _rename(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError as error:
        # Another process was faster, and made the folder with the same content.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _sync(folder: Path) -> None:
    """Waits until the folder's list of names is on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
