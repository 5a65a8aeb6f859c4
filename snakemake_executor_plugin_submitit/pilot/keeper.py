"""The standing allocation as a :class:`Backend`."""

import os
import uuid
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from snakemake_interface_common.exceptions import ApiError

from ..array import ArrayBackend
from ..backend import Resource, Status, Work
from ..clusters import make_cluster
from ..folder import Folder
from ..journal import Journal
from ..log import Log
from ..resource_rules import ResourceError, over_defaults
from ..resources import read_resources
from ..settings import ExecutorSettings
from .agent import Allocation
from .holder import Holder
from .open_jobs import OpenJobs
from .orders import Commander
from .session import Session

CLUSTER = "pilot"
"""As the journal names the place of a job that was handed over."""
LONGEST_SETTLE_SECONDS = 2.0
"""How long the end of an allocation that Slurm tells of may be doubted: not as long as a job's, for nothing is lost but
the allocation's own last words."""


class PilotBackend:
    """A :class:`Backend` that hands works over to the standing allocation of a session.

    New works go to one session. A process that was killed left another behind, which is gone on with if it has works
    that are wanted now; Snakemake's locks on output files say that nobody else wants them.

    Args:
        settings: Of the plugin.
        folder: The executor's.
        journal: Of the same folder.
        log: Snakemake's logger.
        settle_seconds: How long the shared file system may take to show a file.
        defaults: Resources that all jobs have; ``pilot_resources`` goes over them.
    """

    def __init__(
        self,
        settings: ExecutorSettings,
        folder: Folder,
        journal: Journal,
        log: Log,
        settle_seconds: float,
        defaults: Mapping[str, Resource] | None = None,
    ) -> None:
        try:
            resources = over_defaults(read_resources(settings.pilot_resources), defaults or {})
        except ResourceError as error:
            raise ApiError(f"--submitit-pilot-resources: {error}") from error
        name = str(resources.pop("cluster", "slurm"))
        if name not in ("slurm", "local"):
            raise ApiError(f"--submitit-pilot-resources: cluster={name}: use slurm or local")
        cluster = make_cluster(name, settings, folder, log, min(settle_seconds, LONGEST_SETTLE_SECONDS))
        self._arrays = ArrayBackend(cluster, folder, journal, log, function=self._allocation)
        self._settings = settings
        self._folder = folder
        self._journal = journal
        self._log = log
        self._settle_seconds = settle_seconds
        self._template = Work(
            key="",
            rule="pilot",
            name="pilot",
            command=settings.pilot_command,
            cwd=os.getcwd(),
            resources=resources,
        )
        self._sessions: dict[str, OpenJobs] = {}
        self._main: OpenJobs | None = None
        self._more = True

    def attach(self, works: Sequence[Work]) -> set[str]:
        """See :class:`Backend`."""
        attached = set()
        for work in works:
            place = self._journal.place(work.key, work.attempt)
            if place is not None and place.cluster == CLUSTER:
                jobs = self._open_jobs(place.tag.partition("/")[0])
                self._main = self._main or jobs
                if jobs.attach(work):
                    attached.add(work.key)
        return attached

    def submit(self, works: Sequence[Work]) -> None:
        """See :class:`Backend`."""
        self._main = self._main or self._open_jobs(uuid.uuid4().hex[:8])
        self._journal.begin(f"{self._main.session}/{uuid.uuid4().hex}", CLUSTER, works)
        self._main.submit(works)
        self.remaining(self._more)

    def poll(self, keys: Collection[str]) -> Mapping[str, Status]:
        """See :class:`Backend`."""
        statuses: dict[str, Status] = {}
        for jobs in self._sessions.values():
            statuses |= jobs.poll(keys)
        return statuses

    def cancel(self, keys: Collection[str]) -> None:
        """See :class:`Backend`."""
        for jobs in self._sessions.values():
            jobs.cancel(keys)

    def remaining(self, more_to_come: bool) -> None:
        """See :class:`Backend`."""
        self._more = more_to_come
        for jobs in list(self._sessions.values()):
            jobs.remaining(more_to_come and jobs is self._main)

    def close(self) -> None:
        """See :class:`Backend`."""
        for jobs in self._sessions.values():
            jobs.close()
        self._arrays.close()

    def _open_jobs(self, name: str) -> OpenJobs:
        if name not in self._sessions:
            session = Session(self._session_path(name))
            session.make()
            holder = Holder(
                session, self._arrays, self._journal, self._template, bool(self._settings.pilot_chain), self._log
            )
            orders = Commander(session, self._settings.pilot_idle_seconds, self._log)
            self._sessions[name] = OpenJobs(session, self._folder, holder, orders, self._settle_seconds, self._log)
        return self._sessions[name]

    def _session_path(self, name: str) -> Path:
        return self._folder.pilot / name

    def _allocation(self, work: Work) -> Allocation:
        session = work.key.split("-")[1]
        return Allocation(work, self._folder, self._session_path(session), self._settings.pilot_idle_seconds)
