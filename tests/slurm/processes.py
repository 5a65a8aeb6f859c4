"""Finds and ends the processes of jobs, by where they came from: their parents are not ours."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.waiting import wait_until


def has_variables(process: psutil.Process, **variables: str) -> bool:
    """Whether a process was started with these environment variables."""
    # psutil's own reading ends at the first gap, which a process that changed its title has at the beginning.
    try:
        environment = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return all(f"{name}={value}".encode() in environment for name, value in variables.items())


def works_in(process: psutil.Process, folder: Path) -> bool:
    """Whether a process has this working directory."""
    try:
        return Path(process.cwd()) == folder
    except psutil.Error:
        return False


def find_processes(is_wanted: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Such processes and all that descend from them."""
    found = [process for process in psutil.process_iter() if is_wanted(process)]
    for process in list(found):
        try:
            found += [child for child in process.children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE]
        except psutil.NoSuchProcess:
            continue
    return list(dict.fromkeys(found))


def kill_all(find: Callable[[], list[psutil.Process]]) -> None:
    """Kills what `find` finds until it finds nothing more; as in a crash, none lives to see another die.

    Raises:
        TimeoutError: Something does not die.
    """

    def none_left() -> bool:
        found = find()
        for act in (psutil.Process.suspend, psutil.Process.kill):
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    act(process)
        return not found

    wait_until(none_left, "killed processes to be gone")
