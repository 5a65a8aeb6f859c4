"""Runs the commands of a site (Slurm's, the modules'), each with a limit, none with a shell's surprises."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
from collections.abc import Sequence
from typing import Protocol

NOT_FOUND = 127
TOO_LATE = 124
LIMIT_SECONDS = 30.0


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a command said.

    Args:
        code: its exit code; `NOT_FOUND` where it is not installed, `TOO_LATE` where it did not end in time.
        out: standard output.
        err: standard error.
    """

    code: int
    out: str = ""
    err: str = ""

    @property
    def reason(self) -> str:
        """The last thing it said, which is why it failed."""
        lines = [line.strip() for line in f"{self.out}\n{self.err}".splitlines() if line.strip()]
        # Whatever a command prints, no control character may reach a terminal.
        lines = ["".join(one for one in line if one.isprintable()) for line in lines]
        return lines[-1] if lines else f"exit code {self.code}, and not a word"


class Run(Protocol):
    """How a check asks a command; tests give one that answers by itself."""

    def __call__(self, command: Sequence[str], limit: float = LIMIT_SECONDS) -> Answer:
        """Runs `command` for at most `limit` seconds."""
        ...


def run(command: Sequence[str], limit: float = LIMIT_SECONDS) -> Answer:
    """Runs a command to its end, or ends it and all its children after `limit` seconds."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except FileNotFoundError:
        return Answer(NOT_FOUND, "", f"{command[0]}: command not found")
    except OSError as error:
        return Answer(NOT_FOUND, "", f"{command[0]}: {error.strerror}")
    try:
        out, err = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return Answer(TOO_LATE, "", f"{command[0]} did not answer in {limit:g} s")
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    return Answer(process.returncode, out, err)
