"""This machine as a :class:`Cluster`: a process a job, by submitit's local executor."""

import contextlib
import os
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import submitit

from .backend import Resource
from .cluster import Function, Outlook
from .folder import Folder
from .journal import Place
from .resources import Parameters, local_parameters
from .runner import GRACE_SECONDS
from .sbatch import PYTHON, Submission, write_pickle

_POLL_SECONDS = 0.05


class Local:
    """Jobs as processes. An id is ``<pid>-<start>-<host>``: the pid alone may be another process's one day.

    Args:
        folder: The executor's.
        settle_seconds: How long a file may take to be seen.
    """

    name = "local"
    # submitit's local executor makes no arrays, and rests between two submissions of one executor.
    largest_array = 1

    def __init__(self, folder: Folder, settle_seconds: float = 5.0) -> None:
        self._folder = folder
        self._settle_seconds = settle_seconds
        self._jobs: dict[str, submitit.Job[object]] = {}
        self._cancelled: list[str] = []

    def parameters(self, resources: Mapping[str, Resource]) -> Parameters:
        """See :class:`Cluster`."""
        return local_parameters(resources)

    def submit(self, tag: str, parameters: Parameters, functions: Sequence[Function]) -> list[str]:
        """Start a process for the one function; arguments as for ``Cluster.submit``."""
        (function,) = functions
        with Submission(self._folder, tag) as submission:
            pickle = submission.root / "0.pkl"
            write_pickle(pickle, function)
            executor = submitit.LocalExecutor(submission.pattern, python=PYTHON)
            executor.update_parameters(**parameters)
            job: submitit.Job[object] = executor._submit_command(executor._submitit_command_str)
            # Nobody has waited for the process yet, so it has a start even if it has ended.
            job_id = f"{job.job_id}-{_start(int(job.job_id))}-{socket.gethostname()}"
            self._jobs[job_id] = job
            submission.hand_over(pickle, job.job_id)
        return [job_id]

    def look(self, places: Sequence[Place]) -> Mapping[Place, Outlook] | None:
        """See :class:`Cluster`."""
        alive = Outlook(over=False)
        over = Outlook(True, "its process is gone (killed, or at its time limit)", self._settle_seconds)
        return {place: alive if place.job_id and self._lives(place.job_id) else over for place in places}

    def cancel(self, places: Sequence[Place]) -> None:
        """See :class:`Cluster`: submitit's controller passes SIGTERM on to the runner, which ends the command."""
        for job_id in (place.job_id for place in places):
            if job_id and self._lives(job_id):
                self._cancelled.append(job_id)
                _signal(job_id, signal.SIGTERM)

    def may_live(self, place: Place) -> bool:
        """See :class:`Cluster`."""
        return place.job_id is not None and self._lives(place.job_id)

    def files(self, place: Place) -> Path | None:
        """See :class:`Cluster`."""
        return self._folder.submission(place.tag) / place.job_id.split("-")[0] if place.job_id else None

    def close(self) -> None:
        """Wait until what was cancelled is gone; a runner that did not hear of it hears of its controller's death."""
        limit = time.monotonic() + GRACE_SECONDS + 5
        while self._cancelled and time.monotonic() < limit:
            self._cancelled = [job_id for job_id in self._cancelled if self._lives(job_id)]
            time.sleep(_POLL_SECONDS)
        for job_id in self._cancelled:
            _signal(job_id, signal.SIGKILL)

    def _lives(self, job_id: str) -> bool:
        if (job := self._jobs.get(job_id)) is not None:
            return not job.done()
        pid, _, rest = job_id.partition("-")
        start, _, host = rest.partition("-")
        # A damaged journal may have an id here that names no process.
        return bool(start) and host == socket.gethostname() and pid.isdecimal() and _start(int(pid), "Z") == start


def _signal(job_id: str, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(job_id.split("-")[0]), number)


def _start(pid: int, passed_over: str = "") -> str:
    """Start time of a process in the kernel's ticks; empty if there is none, or if it is in a state passed over."""
    try:
        # This reads bytes, since a program may have any name.
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].decode("ascii").split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if state in passed_over else fields[18]
