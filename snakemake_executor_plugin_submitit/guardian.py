"""A process that outlives a job's own process, to kill what that one started if it dies without a word.

PR_SET_PDEATHSIG reaches a child, not its children. So every process group is also named to this guardian through a
pipe; the pipe ends when the job's process does, by whatever means, and the guardian kills the groups that are left.
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable


class Guardian:
    """Names process groups to a guardian process, which it starts; the job's side."""

    def __init__(self) -> None:
        # The guardian runs as a file, without site and environment: it is up in a few milliseconds, and has none of
        # this process's threads. It has a session of its own, so that no signal to the job's group reaches it.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )

    def watch_own(self) -> None:
        """Kill the calling process's group when the job's process dies.

        For the child itself, between fork and exec: named by its parent, a group would be nobody's for a moment.
        """
        # Python gives children the signal's default, and the child would die of it if the guardian were killed.
        before = signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        self._tell(f"+{os.getpgid(0)}\n")
        signal.signal(signal.SIGPIPE, before)

    def forget(self, group: int) -> None:
        """This process group has ended; its number may be somebody else's soon."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """Kill the groups that are still watched, and end the guardian."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        # A job does not fail because its guardian was killed: it is as safe as without one.
        with contextlib.suppress(BrokenPipeError):
            os.write(self._process.stdin.fileno(), line.encode())


def watch_over(lines: Iterable[str]) -> None:
    """Follow the job's process until its end, then kill what is left; the guardian's side."""
    groups: set[int] = set()
    for line in lines:
        group = int(line[1:])
        if line[0] == "+":
            groups.add(group)
        else:
            groups.discard(group)
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


if __name__ == "__main__":
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    watch_over(sys.stdin)
