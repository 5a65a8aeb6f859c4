"""Daemons in the foreground, free ports for them, and waiting with a limit."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from tests.waiting import PATIENCE, wait_until

T = TypeVar("T")

# Where Debian keeps daemons, which is not on the path of everyone.
DAEMON_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def find(program: str) -> str | None:
    """Path of a program or daemon, None where it is not installed."""
    return shutil.which(program, path=DAEMON_PATH)


def free_ports(count: int) -> list[int]:
    """Ports that nobody holds, below those that the kernel gives to outgoing connections."""
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found: set[int] = set()
    while len(found) < count:
        port = random.randrange(10_000, end)
        with socket.socket() as probe:
            try:
                probe.bind(("", port))
            except OSError:
                continue
            found.add(port)
    return list(found)


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on a port of this host."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Daemon:
    """A daemon that runs in the foreground, so that it is a child to wait for and ends with this process."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path) -> None:
        """Describes a daemon.

        Args:
            command: Its name and arguments.
            environment: Of the daemon.
            folder: Where it works; its output goes to a log there.
        """
        self.command, self.environment, self.folder = command, environment, folder
        self.log = folder / f"{command[0]}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Its process, None before its start."""
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Starts it; whether it can serve is for the caller to ask."""
        program = find(self.command[0])
        assert program is not None, self.command[0]
        # setpriv execs the daemon: its id is the daemon's, which the kernel kills when this process dies.
        command = ["setpriv", "--pdeathsig", "KILL", program, *self.command[1:]]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until(self, serves: Callable[[], bool]) -> None:
        """Waits until the daemon serves.

        Raises:
            RuntimeError: It ended instead; the message has the end of its log.
            TimeoutError: It did not within `PATIENCE`.
        """
        name = self.command[0]
        wait_until(lambda: not self.running or serves(), f"{name} (log: {self.log})")
        if not self.running:
            raise RuntimeError(f"{name} ended: {self.log.read_text(errors='replace')[-2000:]}")

    def terminate(self) -> None:
        """Ends it as an administrator would, and waits."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(PATIENCE)

    def kill(self) -> None:
        """Ends it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
