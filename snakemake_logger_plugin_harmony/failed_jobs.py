"""A failed job, in full: its wildcards, how it ended, its log's last lines.

Snakemake says these in three records: the job's start, its command's exit, the job's failure.
"""

import dataclasses
import os
import re
from collections.abc import Mapping
from logging import LogRecord
from pathlib import Path
from typing import Any

TAIL_LINES = 20
_TAIL_BYTES = 65536
# Signals, a shell's exit codes for them, and the exit code of a step that goes on when it is run again.
_STOPS = {"SIGINT", "SIGTERM", "SIGHUP", "129", "130", "143", "75"}
_EXIT = re.compile(r"returned non-zero (exit status \d+)|died with <Signals\.(\w+)")


@dataclasses.dataclass
class _Job:
    wildcards: Mapping[str, Any]
    command: str
    # Snakemake's words on the command's end, until they are printed.
    ended: str = ""


class FailedJobs:
    """Remembers jobs from their start, to tell of those that fail."""

    def __init__(self) -> None:
        self._jobs: dict[int, _Job] = {}

    def note_job(self, record: LogRecord) -> None:
        """A job starts (JOB_INFO)."""
        data = vars(record)
        self._jobs[data["jobid"]] = _Job(dict(data["wildcards"]), data["shellcmd"] or "")

    def note_exit(self, text: str) -> bool:
        """An error's text (ERROR): whether it is how a known job's command ended, and is kept for `describe`."""
        named = self._named(text)
        if not named:
            return False
        # A command may begin like another, longer one.
        max(named, key=lambda job: len(job.command)).ended = text
        return True

    def is_exit(self, text: str) -> bool:
        """Whether an error's text is how a known job's command ended."""
        return bool(self._named(text))

    def is_by_signal(self, text: str) -> bool:
        """Whether it ended by a signal that tells to stop, itself or by its exit status."""
        found = _EXIT.search(text)
        return found is not None and (found[2] or found[1].split()[-1]) in _STOPS

    def _named(self, text: str) -> list[_Job]:
        if _EXIT.search(text) is None:
            return []
        return [job for job in self._jobs.values() if job.command and job.command in text]

    def left_over(self) -> list[str]:
        """What was kept and never told."""
        texts = [job.ended for job in self._jobs.values() if job.ended]
        self._jobs.clear()
        return texts

    def describe(self, record: LogRecord) -> str:
        """A job's failure (JOB_ERROR) with everything that is known of it."""
        data = vars(record)
        job = self._jobs.get(data["jobid"], _Job({}, ""))
        who = [f"{name}={value}" for name, value in job.wildcards.items()]
        found = _EXIT.search(job.ended)
        how = [found[1] or f"killed by {found[2]}"] if found is not None else []
        told = "" if found is not None else job.ended
        job.ended = ""
        head = f"rule {data['rule_name']} failed"
        lines = [f"{head}: {', '.join([' '.join(who), *how]).strip(', ')}" if who or how else head]
        about = {
            "message": "\n".join(part for part in (data["rule_msg"], told) if part),
            "command": data["shellcmd"] or "",
            "environment": data["conda_env"] or data["container_img"] or "",
            **data["aux"],
        }
        lines += [f"    {name}: {_indented(str(value).strip())}" for name, value in about.items() if str(value).strip()]
        for path in data["log"]:
            lines += _tail(Path(path))
        return "\n".join(lines)


def _indented(text: str) -> str:
    return text.replace("\n", "\n        ")


def _tail(path: Path) -> list[str]:
    """A log's path and last lines; these stand at the margin, as the job wrote them."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError as error:
        return [f"    log: {path}: {error.strerror}"]
    if not lines:
        return [f"    log: {path}: empty"]
    shown = lines[-TAIL_LINES:]
    left_out = " (the last lines)" if len(shown) < len(lines) or size > _TAIL_BYTES else ""
    return [f"    log: {path}{left_out}", *shown]
