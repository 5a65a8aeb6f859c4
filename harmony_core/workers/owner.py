"""Which process a lease belongs to, as its file names it, and whether that lives."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import psutil

from harmony_core.atomic import patiently
from harmony_core.host import host_name


@dataclasses.dataclass(frozen=True)
class Owner:
    """A process, as its lease's file names it.

    Args:
        host: name of its host.
        pid: its number there.
        started: when [s since 1970].
        boot: the kernel's name for the host's start.
        processes: where its number counts: a pid means the same process only in one namespace.
    """

    host: str
    pid: int
    started: float
    boot: str
    processes: str


def read_owner(path: Path) -> Owner | None:
    """Whose a lease's file is; None for one that is gone or names nobody."""
    try:
        return parse(patiently(path.read_bytes))
    except FileNotFoundError:
        return None


def parse(content: bytes) -> Owner | None:
    """The process that a file's content names; None for what names none."""
    try:
        owner = Owner(**json.loads(content))
        # The kernel is asked only about a number that a process can have, and a time that is one.
        numbers = type(owner.pid) is int and 0 < owner.pid < 2**31 and math.isfinite(float(owner.started))
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
    words = all(isinstance(one, str) for one in (owner.host, owner.boot, owner.processes))
    return owner if numbers and words and not isinstance(owner.started, str) else None


def me() -> Owner:
    """This process."""
    process = psutil.Process()
    return Owner(
        host_name(),
        process.pid,
        process.create_time(),
        _text("/proc/sys/kernel/random/boot_id"),
        _link("/proc/self/ns/pid"),
    )


def is_running(owner: Owner) -> bool:
    """Whether a process of this host lives; a zombie does not."""
    try:
        process = psutil.Process(owner.pid)
        same = abs(process.create_time() - owner.started) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""
