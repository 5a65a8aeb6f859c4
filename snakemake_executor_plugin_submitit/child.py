"""A command as a process group, with its log and the file that says how it ended."""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

from .backend import Work
from .folder import Folder, write_json_once
from .guardian import Guardian
from .shared_files import make_own

TAIL_LINES = 20
TAIL_BYTES = 8192
LONGEST_ARGUMENT = 100_000
"""Bytes of a command that go on a command line; the kernel takes 131,072."""

_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


class Child:
    """One running command; started by a thread that lives as long as it, since the kernel ends it with that thread.

    Args:
        work: What to run.
        folder: Where its log and state go.
        guardian: Told of the process group, by the command's own process before it becomes the command.
        environment: Variables over those of this process and under those of the work.
    """

    def __init__(
        self, work: Work, folder: Folder, guardian: Guardian, environment: Mapping[str, str] | None = None
    ) -> None:
        self.work = work
        self._folder = folder
        self._guardian = guardian
        self._started = time.monotonic()
        self.log = folder.log(work.name, work.key, work.attempt)
        # The log is appended to: a requeued job writes on where its first run was cut off.
        make_own(self.log.parent)
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                ["bash", "-euo", "pipefail", *_script(work, folder)],
                cwd=work.cwd,
                env={**os.environ, **(environment or {}), **work.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=self._begin,
            )

    def _begin(self) -> None:
        die_with_parent(signal.SIGKILL)
        self._guardian.watch_own()

    def signal(self, number: int) -> None:
        """Send a signal to the whole process group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def warn(self, number: int) -> None:
        """Send a signal to the processes of the group that catch it: the others, the shell first, would die of it."""
        for pid in _catching(self.process.pid, number):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def wait(self) -> int:
        """Wait for the command and kill what it left behind; returns the exit code, 128 + n after signal n."""
        code = self.process.wait()
        self.signal(signal.SIGKILL)
        self._guardian.forget(self.process.pid)
        return code if code >= 0 else 128 - code

    def finish(self, code: int, job_id: str) -> None:
        """Write the state file, unless this attempt has one."""
        seconds = time.monotonic() - self._started
        write_state(self._folder, self.work, code, job_id, seconds, tail(self.log))


def write_state(folder: Folder, work: Work, code: int, job_id: str, seconds: float = 0.0, tail: str = "") -> None:
    """Write how an attempt ended, unless that is known already: the first one wins.

    Args:
        folder: The executor's.
        work: The attempt.
        code: Exit code of its command.
        job_id: The cluster's.
        seconds: That the command ran.
        tail: Last lines of its log, or why there are none.
    """
    state = {
        "rc": code,
        "host": socket.gethostname(),
        "job_id": job_id,
        "seconds": round(seconds, 3),
        "tail": tail,
    }
    write_json_once(folder.state(work.key, work.attempt), state)


def tail(log: Path) -> str:
    """Last lines of a log; empty where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(deque(lines, TAIL_LINES))


def die_with_parent(number: int) -> None:
    """Have the kernel send this signal to the calling process when its parent dies."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, number)


def _script(work: Work, folder: Folder) -> list[str]:
    # A command may hold bytes that are no text, as names of files do; Python keeps them.
    command = os.fsencode(work.command)
    if len(command) <= LONGEST_ARGUMENT:
        return ["-c", work.command]
    path = folder.state(work.key, work.attempt).with_suffix(".sh")
    path.write_bytes(command)
    return [str(path)]


def _catching(group: int, number: int) -> Iterator[int]:
    """Processes of a group with a handler for a signal."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if os.getpgid(int(entry.name)) != group:
                continue
            # This reads bytes, since a program may have any name.
            status = Path(entry.path, "status").read_bytes()
            caught = int(status.partition(b"\nSigCgt:\t")[2].split()[0], 16)
            if caught >> (number - 1) & 1:
                yield int(entry.name)
