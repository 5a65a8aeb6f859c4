"""The function that submitit runs in a scheduler's job. Imports no Snakemake: a job starts as fast as Python does."""

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from .backend import TRY_AGAIN, Work
from .child import Child, die_with_parent
from .folder import Folder, find_state
from .guardian import Guardian

GRACE_SECONDS = 20.0
"""Between SIGTERM and SIGKILL to a command; within the 30 s that Slurm's KillWait leaves by default."""
TOLD_FIRST = (128 + signal.SIGTERM, 128 + signal.SIGINT)
"""How a command ends that the scheduler's signal has reached."""
TOLD_SECONDS = 2.0
"""So long it may be on its way to this process: a scheduler tells all processes of a job, one after another."""


class Runner:
    """Runs one command and writes how it ended.

    The process ends with the command's exit code, so that the scheduler's own accounting tells failure from success.

    Args:
        work: What to run.
        folder: Where its log and state go.
    """

    def __init__(self, work: Work, folder: Folder) -> None:
        self.work = work
        self.folder = folder
        self._signals: Signals | None = None

    def __call__(self) -> None:
        """Run the command, and end this process as it ended."""
        raise SystemExit(self.run())

    def run(self) -> int:
        """Run the command; returns its exit code.

        Raises:
            NotOurs: Others may write into the executor's folder.
        """
        self.folder.check()
        if known := find_state(self.folder, self.work.key, self.work.attempt):
            # The job was requeued after its end, or ran twice; the state that is there stays.
            return int(known["rc"])
        with Signals() as signals:
            self._signals = signals
            guardian = Guardian()
            try:
                child = Child(self.work, self.folder, guardian)
                signals.pass_on_to(child)
                code = child.wait()
                signals.ended.set()
                if code in TOLD_FIRST:
                    signals.wait_until_told()
                # Where a signal ended the command, the scheduler explains it (cancelled, time limit, requeued), unless
                # the command used its grace to come to an end that counts.
                if not signals.stopped or code in (0, TRY_AGAIN):
                    child.finish(code, job_id())
            finally:
                guardian.close()
        return code

    def stop(self) -> None:
        """End the command, from another thread."""
        if self._signals is not None:
            self._signals.stop()


def job_id() -> str:
    """The scheduler's id of the job that this process runs in, as submitit names it; empty outside one."""
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    return os.environ.get("SLURM_JOB_ID") or os.environ.get("SUBMITIT_LOCAL_JOB_ID", "")


class Signals:
    """Passes on to the command what the scheduler tells this process, in place of submitit's handlers.

    SIGTERM and SIGINT end the command, with a grace; SIGUSR2 (the time limit is near) goes to whoever catches it.
    The parent's death (submitit's controller, the batch script) counts as SIGTERM.
    """

    def __init__(self) -> None:
        self.stopped = False
        self.ended = threading.Event()
        self._child: Child | None = None
        # In a thread, as in submitit's debug executor, signals belong to Snakemake.
        self._active = threading.current_thread() is threading.main_thread()

    def pass_on_to(self, child: Child) -> None:
        """From now on there is a command to tell; it is told what came before."""
        self._child = child
        if self.stopped:
            self._end(child)

    def __enter__(self) -> "Signals":
        if self._active:
            handlers = {signal.SIGTERM: self._hear, signal.SIGINT: self._hear, signal.SIGUSR2: self._hear}
            self._before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
            die_with_parent(signal.SIGTERM)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._active:
            for number, handler in self._before.items():
                signal.signal(number, handler)

    def wait_until_told(self) -> None:
        """Wait for a signal that the command may have got before this process."""
        limit = time.monotonic() + TOLD_SECONDS
        while not self.stopped and time.monotonic() < limit:
            # Handlers run in this thread, which may not hold an event's lock then.
            time.sleep(0.01)

    def stop(self) -> None:
        """End the command: SIGTERM, and SIGKILL after a grace."""
        first, self.stopped = not self.stopped, True
        if first and self._child is not None:
            self._end(self._child)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if number != signal.SIGUSR2:
            self.stop()
        elif self._child is not None:
            self._child.warn(number)

    def _end(self, child: Child) -> None:
        child.signal(signal.SIGTERM)
        threading.Thread(target=self._kill_after_grace, args=(child,), daemon=True).start()

    def _kill_after_grace(self, child: Child) -> None:
        if not self.ended.wait(GRACE_SECONDS):
            child.signal(signal.SIGKILL)
