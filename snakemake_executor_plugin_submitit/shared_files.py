"""Files on a file system that several hosts share: its passing errors are waited out, and others' files are not read.

Whoever can write into the executor's folder can have its owner's jobs run anything: a pickle, a command of the inbox.
So the folder is its owner's alone (0700), and what is read from it is looked at through the same open file: who owns
it, and who else could have written it.
"""

import errno
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

PASSING = frozenset({errno.ESTALE, errno.EIO, errno.EAGAIN, errno.EINTR, errno.ETIMEDOUT, errno.EREMOTEIO})
"""What a server that restarts, or a network that does not answer, makes of a call that is well."""
PATIENCE_SECONDS = 15.0
"""Within the grace that Slurm gives a job: a shared file system comes back in seconds, or not soon."""
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 1.0

Result = TypeVar("Result")


class NotOurs(Exception):
    """A file or folder that another user could have written; the text is one line for its user."""


def is_passing(error: BaseException) -> bool:
    """Whether the same call may be well in a moment."""
    return isinstance(error, OSError) and error.errno in PASSING


def patiently(action: Callable[[], Result]) -> Result:
    """Do something with shared files, again and again while they fail in passing.

    Args:
        action: May be done twice.

    Raises:
        OSError: Another error; or a passing one for `PATIENCE_SECONDS`.
    """
    limit = time.monotonic() + PATIENCE_SECONDS
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return action()
        except OSError as error:
            if not is_passing(error) or time.monotonic() + pause > limit:
                raise
        # No server says when it is back, so this asks again.
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def read_own(path: Path) -> bytes:
    """Content of a file that this user alone can have written.

    Raises:
        FileNotFoundError: There is none.
        NotOurs: Somebody else owns it, or may write to it.
    """
    return patiently(lambda: _read_own(path))


def make_own(path: Path) -> None:
    """Make a folder that nobody else may enter, and those above it that are missing; what is there is left as it is."""
    if not path.parent.is_dir():
        make_own(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)


def check_own(path: Path) -> None:
    """See to it that a folder is this user's, and that nobody else may enter it.

    Raises:
        NotOurs: It is not, or somebody may.
        OSError: It cannot be looked at.
    """
    status = patiently(path.stat)
    _check_owner(path, status)
    if status.st_mode & 0o077:
        raise NotOurs(
            f"{path}: others may enter it (mode {stat.S_IMODE(status.st_mode):04o}), and could change what your jobs "
            "run; chmod 700 it, or name another with --submitit-folder"
        )


def _read_own(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        _check_owner(path, status)
        if status.st_mode & 0o022:
            raise NotOurs(
                f"{path}: others may write to it (mode {stat.S_IMODE(status.st_mode):04o}), so it is not read; "
                "remove it, and start Snakemake again"
            )
        return file.read()


def _check_owner(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.geteuid():
        raise NotOurs(
            f"{path}: belongs to user {status.st_uid}, and this is user {os.geteuid()}; "
            "name a folder of your own with --submitit-folder"
        )
