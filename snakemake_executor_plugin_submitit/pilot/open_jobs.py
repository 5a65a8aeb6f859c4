"""One session, seen from the main process: which jobs are open, and what that means for its allocations."""

import contextlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ..backend import Done, Lost, Running, Status, Work
from ..folder import Folder, find_state
from ..log import Log
from .holder import Holder
from .inbox import Content, Job
from .orders import Commander
from .session import Session


@dataclass
class _Open:
    """A job handed over, whose end was not told yet."""

    job: Job
    work: Work
    lost: Lost | None = None
    cancelled: bool = False
    missing_since: float | None = None


class OpenJobs:
    """Jobs handed over to a session, until their end was told.

    Args:
        session: The session's files.
        folder: The executor's.
        holder: Of its allocations.
        orders: For its agents.
        settle_seconds: How long the shared file system may take to show a file.
        log: Snakemake's logger.
    """

    def __init__(
        self, session: Session, folder: Folder, holder: Holder, orders: Commander, settle_seconds: float, log: Log
    ) -> None:
        self.session = session.root.name
        self._session = session
        self._log = log
        self._settle_seconds = settle_seconds
        self._inbox = session.inbox
        self._folder = folder
        self._holder = holder
        self._orders = orders
        self._open: dict[str, _Open] = {}
        self._more = True
        self._undecided = False
        """Whether Snakemake was just told of an end without success, which may bring the job back."""

    def attach(self, work: Work) -> bool:
        """Take over a job of an earlier process; returns whether it may be running, or ended just now."""
        job = Job(work.key, work.attempt)
        content = self._content()
        # The inbox is read before the state: the agent writes the state before it removes the job.
        if job in content.jobs - content.withdrawn or find_state(self._folder, *job) is not None:
            self._open[work.key] = _Open(job, work)
        return work.key in self._open

    def submit(self, works: Sequence[Work]) -> None:
        """Hand jobs over."""
        try:
            self._inbox.hand_over(works)
        except OSError:
            # None of them stays: they will come again, as other attempts.
            for work in works:
                with contextlib.suppress(OSError):
                    self._inbox.withdraw(Job(work.key, work.attempt))
            raise
        self._open |= {work.key: _Open(Job(work.key, work.attempt), work) for work in works}
        self._holder.take()

    def poll(self, keys: Collection[str]) -> Mapping[str, Status]:
        """How these jobs stand, as far as they are this session's; then see to the allocations."""
        content = self._clear_decided()
        statuses = {key: self._status(self._open[key], content) for key in keys if key in self._open}
        for key, status in statuses.items():
            if isinstance(status, Running):
                continue
            del self._open[key]
            if isinstance(status, Done):
                self._holder.note_end(status.rc)
            self._undecided = self._undecided or not isinstance(status, Done) or status.rc != 0
        self._hold()
        return statuses

    def cancel(self, keys: Collection[str]) -> None:
        """End these jobs."""
        for entry in (self._open[key] for key in keys if key in self._open):
            entry.cancelled = True
            self._inbox.withdraw(entry.job)

    def remaining(self, more: bool) -> None:
        """Tell the agent whether more may come."""
        self._more = more
        self._orders.say(more)

    def close(self) -> None:
        """No more will come from here; an agent that runs ends after the jobs that it has."""
        self._more = False
        self._clear_decided()
        self._orders.close()
        if not self._wanted:
            # If jobs are cancelled and have not ended, their agent goes too: nobody will see whether it obeys.
            self._holder.give_back(with_agent=bool(self._open))

    @property
    def _wanted(self) -> bool:
        return any(not (entry.cancelled or entry.lost) for entry in self._open.values())

    def _hold(self) -> None:
        self._holder.follow()
        if self._holder.hopeless and not self._holder.holds:
            # Nobody runs these jobs, and nobody will.
            for entry in self._open.values():
                self._inbox.remove(entry.job)
                entry.lost = Lost(self._holder.hopeless, final=True)
            self._holder.try_again()
        elif self._wanted or (self._more and self._holder.holds):
            self._holder.take()
        elif not self._undecided:
            self._holder.give_back()

    def _status(self, entry: _Open, content: Content) -> Status:
        if (state := find_state(self._folder, *entry.job)) is not None:
            return Done(**state)
        if entry.lost:
            return entry.lost
        if entry.cancelled and not self._holder.holds:
            self._inbox.remove(entry.job)
            return Lost("cancelled")
        if entry.job in content.jobs:
            return Running()
        if entry.cancelled:
            return Lost("cancelled")
        # A job is never removed without a state, but this host may see the state late.
        entry.missing_since = entry.missing_since or time.monotonic()
        if time.monotonic() - entry.missing_since < self._settle_seconds:
            return Running()
        return Lost(f"it is no longer in {self._inbox.root}, and nothing says how it ended")

    def _content(self) -> Content:
        """What lies in the inbox; all that is wanted is handed over again where somebody has removed it."""
        try:
            return self._inbox.content()
        except FileNotFoundError:
            wanted = [entry.work for entry in self._open.values() if not (entry.cancelled or entry.lost)]
            self._log.warning(
                f"{self._inbox.root}: removed while jobs are under way, and made again with {len(wanted)} jobs"
            )
            self._session.make()
            self._inbox.hand_over([work for work in wanted if find_state(self._folder, work.key, work.attempt) is None])
            return self._inbox.content()

    def _clear_decided(self) -> Content:
        """Let go of what failed and was told before: by now it has come again, or never will."""
        self._undecided = False
        content = self._content()
        for job in content.failed - {entry.job for entry in self._open.values()}:
            self._inbox.remove(job)
        return content
