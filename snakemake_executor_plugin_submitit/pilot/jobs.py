"""The commands that an agent runs."""

import contextlib
import signal
import time
from collections.abc import Callable, Collection

from ..backend import TRY_AGAIN, Work
from ..child import Child, write_state
from ..folder import Folder, find_state
from ..runner import GRACE_SECONDS
from .inbox import Inbox, Job

NOT_STARTED = 126
"""Exit code of a command that could not be started, as a shell's."""
DOUBT_SECONDS = 1.0
"""How long a failure is held back: Slurm ends a job by a signal to each of its processes, and a command may die of its
own before this process has heard of any."""


class Jobs:
    """Starts jobs of the inbox, all at once: they are light, and Snakemake's ``--jobs`` says how many there may be.

    Args:
        inbox: Where they come from.
        folder: Where logs and states go.
        start: Starts a command.
        job_id: The scheduler's id of the allocation.
    """

    def __init__(self, inbox: Inbox, folder: Folder, start: Callable[[Work], Child], job_id: str) -> None:
        self._inbox = inbox
        self._folder = folder
        self._start = start
        self._job_id = job_id
        self._stopped = False
        self._kill_at: dict[Job, float] = {}
        self._unrecorded: dict[Job, tuple[Child, int, float]] = {}
        self.children: dict[Job, Child] = {}

    @property
    def busy(self) -> bool:
        """Whether a command runs, or its end is not recorded yet."""
        return bool(self.children or self._unrecorded)

    def start(self, jobs: Collection[Job]) -> None:
        """Start those that do not run yet."""
        for work in self._inbox.read(set(jobs) - self.children.keys() - self._unrecorded.keys()):
            job = Job(work.key, work.attempt)
            state = find_state(self._folder, *job)
            if state is not None:
                # The agent of this job died between the two steps of its end.
                self._take_out(job, state["rc"])
                continue
            try:
                self.children[job] = self._start(work)
            except OSError as error:
                # A full disk refuses this too; then the job stays, and the next round tries again.
                with contextlib.suppress(OSError):
                    write_state(self._folder, work, NOT_STARTED, self._job_id, tail=f"cannot be started: {error}")
                    self._take_out(job, NOT_STARTED)

    def settle(self, pid: int) -> None:
        """A process ended; if it is one of these, record how."""
        job = next((job for job, child in self.children.items() if child.process.pid == pid), None)
        if job is None:
            return
        child = self.children.pop(job)
        code = child.wait()
        if code != 0 and job in self._kill_at:
            self._inbox.fail(job)
        elif _counts(code) or not self._stopped:
            self._unrecorded[job] = child, code, time.monotonic() + (0 if _counts(code) else DOUBT_SECONDS)
            self.record()
        self._kill_at.pop(job, None)

    def record(self) -> None:
        """Record ends; what a full disk does not take is tried again when this is called again."""
        for job, (child, code, due) in list(self._unrecorded.items()):
            if time.monotonic() < due:
                continue
            try:
                child.finish(code, self._job_id)
            except OSError:
                # This prints nothing: the allocation's own log is on that disk.
                return
            del self._unrecorded[job]
            self._take_out(job, code)

    def withdraw(self, withdrawn: Collection[Job]) -> None:
        """End and take out what is not wanted any more."""
        for job in withdrawn:
            child = self.children.get(job)
            if child is None:
                self._inbox.fail(job)
            elif job not in self._kill_at:
                child.signal(signal.SIGTERM)
                self._kill_at[job] = time.monotonic() + GRACE_SECONDS
            elif time.monotonic() > self._kill_at[job]:
                child.signal(signal.SIGKILL)

    def stop(self) -> None:
        """Ask all to end; what does not use its grace to come to an end that counts stays in the inbox."""
        self._stopped = True
        self._unrecorded = {job: end for job, end in self._unrecorded.items() if _counts(end[1])}
        for child in self.children.values():
            child.signal(signal.SIGTERM)

    def _take_out(self, job: Job, code: int) -> None:
        if code == 0:
            self._inbox.remove(job)
        else:
            self._inbox.fail(job)


def _counts(code: int) -> bool:
    """Whether a command that ends like this cannot have been ended by a signal."""
    return code in (0, TRY_AGAIN)
