"""What runs in an allocation's batch process: the session's jobs, and the companion beside them.

Imports little and starts everything at once: every second here is a second in which the whole allocation idles.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from ..backend import Work
from ..child import Child, die_with_parent, write_state
from ..folder import Folder, find_state
from ..guardian import Guardian
from ..runner import GRACE_SECONDS, job_id
from ..shared_files import is_passing
from .companion import Companion
from .events import Events
from .idle import Idle
from .inbox import Content
from .jobs import Jobs
from .session import Ending, Session, run_name

LOOK_SECONDS = 0.1
"""Between two looks into the inbox: a shared file system tells nobody of a new file."""
OWNER_SECONDS = 1.0
"""Between two looks at who owns the inbox."""
TAKEOVER_SECONDS = 5.0
"""How long the jobs of an agent that ended without a word are left alone: time for it to see that it was replaced."""
REPLACED_GRACE_SECONDS = 1.0
FOLDER_VARIABLE = "SNAKEMAKE_PILOT_FOLDER"

EXIT_CODES = {"drained": 0, "idle": 0, "time": 0, "companion": 1}
"""Of this process, by reason; a signal's otherwise."""
RECORDED = ("drained", "idle")
"""Reasons that end the allocation for good. What else an agent takes for the end may be a lost node's doing, and the
scheduler, which may have requeued the allocation, knows better."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class Allocation:
    """The function that submitit runs.

    Args:
        work: The allocation itself; its command is the companion's, empty for none.
        folder: The executor's folder.
        session: Folder of the session.
        idle_seconds: How long nothing to do, and nobody who says that more will come, is borne.
    """

    work: Work
    folder: Folder
    session: Path
    idle_seconds: float

    def __call__(self) -> None:
        """Run until nothing is left to do here; ends the process.

        Raises:
            NotOurs: Others may write into the executor's folder.
        """
        self.folder.check()
        if (known := find_state(self.folder, self.work.key, self.work.attempt)) is not None:
            # Slurm has requeued the allocation after its end.
            raise SystemExit(known["rc"])
        with Events() as events:
            # The agent shall not outlive the batch script, or submitit's controller.
            die_with_parent(signal.SIGTERM)
            ending = Agent(self, events).run()
        if ending.reason in RECORDED:
            write_state(self.folder, self.work, 0, job_id(), tail=str(ending))
        print(ending, flush=True)
        raise SystemExit(EXIT_CODES.get(ending.reason, 128 + signal.SIGTERM))


class Agent:
    """One life of an allocation; after a requeue, another agent goes on.

    Args:
        allocation: What to run.
        events: Entered, so that no signal is missed.
    """

    def __init__(self, allocation: Allocation, events: Events) -> None:
        self._allocation = allocation
        self._events = events
        self._session = Session(allocation.session)
        self._guardian = Guardian()
        self._run = run_name(allocation.work.key)
        self._jobs = Jobs(self._session.inbox, allocation.folder, self._start, job_id())
        self._companion = Companion(self._start_companion if allocation.work.command else None)
        self._closing = False
        self._idle = Idle(allocation.idle_seconds)
        self._look_at_owner = time.monotonic() + OWNER_SECONDS

    def run(self) -> Ending:
        """Run jobs until there is a reason to end; then end everything and say why."""
        predecessor = self._session.own(self._run)
        place = self._place = self._session.make_run(self._run)
        # A command of the environment that Snakemake runs in is found by its name, whether the environment is activated
        # or not.
        path = os.pathsep.join([os.path.dirname(sys.executable), os.environ.get("PATH", os.defpath)])
        self._environment = {FOLDER_VARIABLE: str(place), "PATH": path}
        try:
            # A successor may start once all is done, before it is cancelled.
            ending = self._nothing_to_do() or self._serve(predecessor)
            self._end_all(REPLACED_GRACE_SECONDS if ending.reason == "replaced" else GRACE_SECONDS)
        finally:
            self._guardian.close()
            shutil.rmtree(place, ignore_errors=True)
        self._session.end(self._run, ending)
        return ending

    def _serve(self, predecessor: str | None) -> Ending:
        self._companion.start()
        takeover = time.monotonic() + TAKEOVER_SECONDS
        while True:
            if predecessor and (time.monotonic() > takeover or self._tried(self._has_ended, predecessor)):
                predecessor = None
            self._tried(self._look, bool(predecessor))
            ended, signals = self._events.wait(LOOK_SECONDS)
            self._settle(ended)
            ending = self._told_to_end(signals) or self._tried(self._reason_to_end)
            if ending:
                return ending

    def _tried(self, action: Callable[..., Result], *arguments: object) -> Result | None:
        """Look at shared files, which may fail in passing: then the next look is soon."""
        try:
            return action(*arguments)
        except OSError as error:
            if not is_passing(error):
                raise
            print(f"{error}: asking again", flush=True)
            return None

    def _has_ended(self, run: str) -> bool:
        return self._session.ending(run) is not None

    def _look(self, waits: bool) -> None:
        content = self._content()
        self._jobs.withdraw(content.withdrawn)
        self._jobs.record()
        if not waits and not self._closing:
            self._jobs.start(content.jobs - content.withdrawn)

    def _content(self) -> Content:
        """What is to do; the session's folders are made again where somebody has removed them."""
        try:
            return self._session.inbox.content()
        except FileNotFoundError:
            print(f"{self._session.inbox.root}: removed while jobs are under way, and made again", flush=True)
            self._session.make()
            return self._session.inbox.content()

    def _told_to_end(self, signals: list[int]) -> Ending | None:
        if signal.SIGTERM in signals or signal.SIGINT in signals:
            return Ending("killed", "by the scheduler or by hand")
        if signal.SIGUSR2 in signals:
            self._companion.warn()
            self._closing = True
        return None

    def _reason_to_end(self) -> Ending | None:
        if self._replaced():
            return Ending("replaced", f"by {self._session.owner()}")
        if self._companion.failure:
            return Ending("companion", self._companion.failure)
        if not self._place.is_dir():
            # Without the folder the jobs and the companion cannot find each other.
            return Ending("vanished", f"{self._place} has been removed")
        self._closing = self._closing or self._companion.left
        if self._jobs.busy:
            self._idle.reset()
            return None
        if self._closing:
            return Ending("time", "the companion left, or the time limit is near")
        return self._nothing_to_do()

    def _nothing_to_do(self) -> Ending | None:
        # The orders are read first: the main process hands over its last jobs before it says that they are the last.
        orders = self._session.orders()
        content = self._content()
        if content.jobs:
            self._idle.reset()
        elif not orders.more and not content.failed:
            return Ending("drained", "no job is left, and none will come")
        elif self._idle.too_long(orders.beat if orders.more else None):
            return Ending("idle", f"{self._allocation.idle_seconds:g} s without a job or a word of more")
        return None

    def _replaced(self) -> bool:
        if time.monotonic() < self._look_at_owner:
            return False
        self._look_at_owner = time.monotonic() + OWNER_SECONDS
        owner = self._session.owner()
        if owner is None:
            # Nobody took over, so somebody has removed the file.
            print(f"{self._session.root}/owner.json: removed, and written again", flush=True)
            self._session.own(self._run)
        return owner not in (None, self._run)

    def _end_all(self, grace: float) -> None:
        self._jobs.stop()
        self._companion.stop()
        deadline = time.monotonic() + grace
        while children := [child for child in (self._companion.child, *self._jobs.children.values()) if child]:
            if time.monotonic() > deadline:
                for child in children:
                    child.signal(signal.SIGKILL)
            self._settle(self._events.wait(LOOK_SECONDS)[0])

    def _settle(self, ended: list[int]) -> None:
        for pid in ended:
            if self._companion.is_process(pid):
                self._companion.ended()
            else:
                self._jobs.settle(pid)

    def _start(self, work: Work) -> Child:
        child = Child(work, self._allocation.folder, self._guardian, self._environment)
        try:
            self._events.watch(child.process.pid)
        except OSError:
            child.signal(signal.SIGKILL)
            child.wait()
            raise
        return child

    def _start_companion(self, number: int) -> Child:
        work = replace(self._allocation.work, key=self._run, name="companion", attempt=number)
        return self._start(work)
