"""The backend that submits every work to a cluster: arrays of Slurm jobs, processes, or calls."""

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from .backend import Done, Lost, Running, Status, Work
from .cleaning import remove_job
from .cluster import Cluster, Function, Outlook
from .folder import Folder, find_state
from .journal import Journal, Place
from .log import Log
from .resource_rules import ResourceError
from .resources import Parameters
from .runner import Runner
from .shared_files import patiently
from .submission import Submitter, batches


@dataclass
class _Entry:
    work: Work
    place: Place | None = None
    """None while it waits to be submitted."""
    lost: Lost | None = None
    cancelled: bool = False
    over_since: float | None = None
    """This process's monotonic time at which the cluster first said that the job is over."""
    avoids: bool = False
    """It was submitted to other nodes than those of its last attempt."""


class ArrayBackend:
    """A :class:`Backend` on a :class:`Cluster`.

    How a work ended is read from its state file alone. The cluster is asked about works without one, to find those that
    will never write it.

    Args:
        cluster: Where jobs run.
        folder: The executor's.
        journal: Of the same folder.
        log: Snakemake's logger.
        function: Makes what submitit runs for a work; by default, its command.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Folder,
        journal: Journal,
        log: Log,
        function: Callable[[Work], Function] | None = None,
    ) -> None:
        self._cluster = cluster
        self._folder = folder
        self._journal = journal
        self._entries: dict[str, _Entry] = {}
        self._log = log
        # For each key, the nodes on which its last attempt ended without a word, as the scheduler lists them.
        self._suspects: dict[str, str] = {}
        # Snakemake's threads and the submitter's share what is below.
        self._lock = threading.Lock()
        self._submitter = Submitter(cluster, function or self._command, journal, log, self._submitted, self._refused)

    def attach(self, works: Sequence[Work]) -> set[str]:
        """See :class:`Backend`."""
        attached = set()
        for work in works:
            place = self._journal.place(work.key, work.attempt)
            if place and place.cluster == self._cluster.name and self._cluster.may_live(place):
                with self._lock:
                    self._entries[work.key] = _Entry(work, place)
                attached.add(work.key)
        return attached

    def submit(self, works: Sequence[Work]) -> None:
        """See :class:`Backend`."""
        self._submit(works, avoid=True)

    def poll(self, keys: Collection[str]) -> Mapping[str, Status]:
        """See :class:`Backend`."""
        written = self._written()
        with self._lock:
            entries = {key: self._entries[key] for key in keys}
        statuses: dict[str, Status] = {}
        open_entries = []
        for key, entry in entries.items():
            # The command's own end counts, whatever the scheduler makes of it.
            if self._folder.state(key, entry.work.attempt).name in written and (done := self._done(entry)):
                statuses[key] = done
            elif entry.lost:
                statuses[key] = entry.lost
            else:
                open_entries.append(entry)
        statuses |= self._look(open_entries)
        with self._lock:
            for key, status in statuses.items():
                if not isinstance(status, Running):
                    del self._entries[key]
        return statuses

    def cancel(self, keys: Collection[str]) -> None:
        """See :class:`Backend`."""
        withdrawn = self._submitter.withdraw(keys)
        places = []
        with self._lock:
            # The end of a key that is not known any more has been reported.
            for entry in (self._entries[key] for key in keys if key in self._entries):
                entry.cancelled = True
                if entry.work.key in withdrawn:
                    entry.lost = Lost("cancelled before it was submitted")
                elif entry.place is not None:
                    places.append(entry.place)
        # _submitted cancels what is being submitted right now.
        self._cluster.cancel(places)

    def remaining(self, more_to_come: bool) -> None:
        """See :class:`Backend`: nothing is held that could be given back."""

    def close(self) -> None:
        """See :class:`Backend`."""
        self._submitter.close()
        self._cluster.close()

    def _submit(self, works: Sequence[Work], avoid: bool) -> None:
        wanted: list[tuple[Work, Parameters]] = []
        with self._lock:
            for work in works:
                suspects = self._suspects.pop(work.key, "") if avoid else ""
                entry = self._entries[work.key] = _Entry(work, avoids=bool(suspects))
                try:
                    wanted.append((work, self._cluster.parameters(_elsewhere(work, suspects).resources)))
                except ResourceError as error:
                    entry.lost = Lost(str(error), final=True)
        self._submitter.add(batches(wanted))

    def _written(self) -> set[str]:
        """Names of the state files; makes the executor's folders again where somebody has removed them."""
        try:
            return set(patiently(lambda: os.listdir(self._folder.states)))
        except FileNotFoundError:
            missing = ", ".join(map(str, self._folder.make_parts()))
            self._log.warning(f"{missing}: removed while jobs are under way, and made again; what runs goes on")
            return set()

    def _command(self, work: Work) -> Function:
        return Runner(work, self._folder)

    def _submitted(self, works: Sequence[Work]) -> None:
        cancelled = []
        with self._lock:
            for work in works:
                place = self._journal.place(work.key, work.attempt)
                if entry := self._entries.get(work.key):
                    entry.place = place
                    if entry.cancelled and place is not None:
                        cancelled.append(place)
        if cancelled:
            self._cluster.cancel(cancelled)

    def _refused(self, works: Sequence[Work], why: str) -> None:
        again = []
        with self._lock:
            for work in works:
                entry = self._entries.get(work.key)
                if entry is None:
                    continue
                if entry.avoids and not entry.cancelled:
                    again.append(work)
                else:
                    entry.lost = Lost(why, final=True)
        # The node to be avoided may be the only one.
        if again:
            self._submit(again, avoid=False)

    def _done(self, entry: _Entry) -> Done | None:
        """How it ended by its state file; None if that cannot be read (yet)."""
        state = find_state(self._folder, entry.work.key, entry.work.attempt)
        if state is None:
            return None
        done = Done(**state)
        if done.rc == 0 and entry.place is not None:
            # These are script, pickle and empty logs of a job that went well; the command's own log stays.
            remove_job(self._cluster.files(entry.place))
        return done

    def _look(self, entries: Sequence[_Entry]) -> dict[str, Status]:
        placed = {entry.place: entry for entry in entries if entry.place is not None}
        outlooks = self._cluster.look(list(placed)) if placed else {}
        statuses: dict[str, Status] = {entry.work.key: Running() for entry in entries}
        for place, outlook in (outlooks or {}).items():
            entry = placed[place]
            if outlook.job_id and not place.job_id:
                entry.place = replace(place, job_id=outlook.job_id)
            if outlook.hopeless:
                self._cluster.cancel([place])
                statuses[entry.work.key] = Lost(outlook.words, place.job_id or "", final=True)
            elif self._believed(entry, outlook):
                statuses[entry.work.key] = self._ended(entry, outlook)
        return statuses

    def _believed(self, entry: _Entry, outlook: Outlook) -> bool:
        now = time.monotonic()
        if not outlook.over:
            entry.over_since = None
        elif entry.over_since is None:
            entry.over_since = now
        return entry.over_since is not None and now - entry.over_since >= outlook.settle_seconds

    def _ended(self, entry: _Entry, outlook: Outlook) -> Status:
        path = self._folder.state(entry.work.key, entry.work.attempt)
        # This asks for the file by its name: a folder's listing may be older than the file.
        if done := self._done(entry):
            return done
        job_id = (entry.place.job_id if entry.place else None) or ""
        if path.exists():
            return Lost(f"{outlook.words}; its state file {path} cannot be read", job_id)
        files = self._cluster.files(entry.place) if entry.place else None
        if files is not None and not files.exists():
            return Lost(f"{outlook.words}; its files in {files} have been removed", job_id, vanished=True)
        if outlook.suspects:
            self._suspects[entry.work.key] = outlook.suspects
        logs = sorted(files.glob("*_log.*")) if files else []
        return Lost(outlook.words, job_id, tuple(map(str, logs)))


def _elsewhere(work: Work, suspects: str) -> Work:
    """This work, on other nodes than these."""
    if not suspects:
        return work
    excluded = ",".join(filter(None, [str(work.resources.get("exclude") or ""), suspects]))
    return replace(work, resources={**work.resources, "exclude": excluded})
