"""What Snakemake calls: jobs become works, statuses become Snakemake's reports."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from .backend import TRY_AGAIN, Done, Lost, Running, Status, Work
from .command import default_resources, describe, may_run_directly, prepare
from .factory import make_backend, make_folder
from .failure import explain
from .journal import Journal
from .remaining import more_to_come
from .resume import Past
from .slurm import leave_slurm_job


@dataclass
class _Tracked:
    """A job between its submission and its report."""

    job: Any
    work: Work
    attached: bool = False
    """Submitted by an earlier Snakemake process: if it is lost, that was no try of this one."""
    outcome: Done | None = None
    """It ended before this process asked."""
    rivals: dict[str, Work] = field(default_factory=dict)
    """Earlier jobs on the same files that have to end before this one is submitted."""
    resubmissions: int = 0


class Executor(RemoteExecutor):
    """Snakemake's executor; its settings are :class:`.settings.ExecutorSettings`."""

    # The status thread of the base class runs before __post_init__ does, and asks for these.
    _loop: asyncio.AbstractEventLoop | None = None
    _wake: asyncio.Event | None = None

    def __post_init__(self) -> None:
        """Make what the settings ask for; called by the base class."""
        leave_slurm_job(os.environ)
        settings = self.workflow.executor_settings
        self._settings = settings
        self._folder = make_folder(settings)
        self._journal = Journal(self._folder.journal)
        self._past = Past(self._journal, self._folder)
        self._backend = make_backend(
            settings,
            self._folder,
            self._journal,
            self.logger,
            settle_seconds=float(self.workflow.execution_settings.latency_wait),
            defaults=default_resources(self.workflow),
        )
        self._tracked: dict[str, _Tracked] = {}
        # Reported as a success, and not yet known to be in Snakemake's own records.
        self._unrecorded: list[_Tracked] = []
        self._cancelled = False
        self._failed: set[Any] = set()
        # Snakemake's main thread submits and cancels, its status thread polls.
        self._backend_lock = threading.RLock()

    def run_job(self, job: Any) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[Any]) -> None:
        """Submit the jobs of one scheduling round; those with equal resources go together."""
        described = []
        for job in jobs:
            self.run_job_pre(job)
            described.append((job, self._describe(job)))
        with self._backend_lock:
            self._start(described)
        for job, work in described:
            self.report_job_submission(SubmittedJobInfo(job, aux={"key": work.key}))
        self._tell_remaining()

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Report what has ended; yield what has not."""
        if not active_jobs:
            return
        self._record()
        with self._backend_lock:
            statuses = self._poll([info.aux["key"] for info in active_jobs])
        for info in active_jobs:
            key = info.aux["key"]
            match statuses[key]:
                case Running():
                    yield info
                case Done(rc=0):
                    self._unrecorded.append(self._tracked.pop(key))
                    self.report_job_success(info)
                case Done() | Lost() as status:
                    self._report_failure(info, self._tracked.pop(key), status)

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel everything; the list is not used, since the status thread empties it while it asks."""
        with self._backend_lock:
            self._cancelled = True
            keys = [key for key, one in list(self._tracked.items()) if not one.outcome and not one.rivals]
            self._backend.cancel(keys)

    def shutdown(self) -> None:
        """End the threads; called by Snakemake in all cases, after ``cancel_jobs`` if it was interrupted."""
        with self.lock:
            self.wait = False
        if self._loop is not None and self._wake is not None:
            # The loop is closed if an error has ended the thread.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._wake.set)
        super().shutdown()
        self._record()
        self._backend.close()

    async def sleep(self) -> None:
        """Pause between two status checks, cut short by ``shutdown``."""
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), self.next_seconds_between_status_checks)

    def handle_job_error(self, job: Any) -> None:
        """Snakemake has noted a failure: what needs this job's output may never come."""
        if job.restart_times <= job.attempt - 1:
            self._failed.add(job)
            self._tell_remaining()

    def _describe(self, job: Any) -> Work:
        work = describe(job, self._is_direct(job), self.format_job_exec)
        if self._settings.setup and self._settings.cluster in ("local", "debug"):
            work = replace(work, command=f"{self._settings.setup}\n{work.command}")
        return work

    def _start(self, described: list[tuple[Any, Work]]) -> None:
        """Take up what an earlier process left behind, and submit the rest."""
        fresh = {}
        for job, work in described:
            tracked = self._tracked[work.key] = _Tracked(job, work)
            finished = self._past.finished(work)
            if finished and all(os.path.exists(path) for path in job.output):
                tracked.work, tracked.outcome = finished
                self.logger.info(
                    f"{work.name}: ended well after the end of an earlier Snakemake process; not run again."
                )
            else:
                fresh[work.key] = tracked
        for key, work in self._past.attach([one.work for one in fresh.values()], self._backend).items():
            tracked = fresh.pop(key)
            tracked.work, tracked.attached = work, True
            self.logger.info(f"{work.name}: submitted by an earlier Snakemake process; waiting for that.")
        for tracked in fresh.values():
            if self._is_direct(tracked.job):
                self.workflow.async_run(prepare(tracked.job))
            tracked.rivals = self._past.cancel_rivals(tracked.work, self._backend)
            if tracked.rivals:
                self.logger.info(
                    f"{tracked.work.name}: an earlier job on the same files, with another command or "
                    "input, is cancelled first."
                )
        self._submit([one for one in fresh.values() if not one.rivals])

    def _submit(self, tracked: Sequence[_Tracked]) -> None:
        for one in tracked:
            one.work = replace(one.work, attempt=self._journal.next_attempt(one.work.key))
            one.attached = False
        if works := [one.work for one in tracked]:
            self._journal.works(works)
            self._backend.submit(works)

    def _poll(self, keys: Sequence[str]) -> dict[str, Status]:
        """Statuses to report; works that come again are submitted again, and count as running."""
        if self._cancelled:
            return {key: Running() for key in keys}
        tracked = {key: self._tracked[key] for key in keys}
        statuses: dict[str, Status] = {key: one.outcome for key, one in tracked.items() if one.outcome}
        rivals = {rival for one in tracked.values() for rival in one.rivals}
        asked = {key for key, one in tracked.items() if not one.outcome and not one.rivals}
        answers = self._backend.poll(asked | rivals)
        again = []
        for key in tracked.keys() - statuses.keys():
            one = tracked[key]
            statuses[key] = Running()
            if one.rivals:
                ended = [rival for rival in one.rivals if not isinstance(answers[rival], Running)]
                if ended:
                    self._journal.reported([one.rivals.pop(rival) for rival in ended])
                if not one.rivals:
                    again.append(one)
            elif self._comes_again(one, answers[key]):
                again.append(one)
            else:
                statuses[key] = answers[key]
        self._submit(again)
        return statuses

    def _comes_again(self, one: _Tracked, status: Status) -> bool:
        if isinstance(status, Lost) and one.attached:
            self.logger.info(f"{one.work.name}: lost with an earlier Snakemake process ({status.why}).")
            return True
        unfinished = isinstance(status, Done) and status.rc == TRY_AGAIN
        if unfinished and one.resubmissions < self._settings.resubmissions:
            one.resubmissions += 1
            self.logger.info(f"{one.work.name}: not finished (exit code {TRY_AGAIN}), submitted again.")
            return True
        return False

    def _report_failure(self, info: SubmittedJobInfo, one: _Tracked, status: Done | Lost) -> None:
        log = self._folder.log(one.work.name, one.work.key, one.work.attempt)
        # With --show-failed-logs Snakemake prints all of it.
        with_tail = not self.workflow.output_settings.show_failed_logs
        words, logs = explain(status, log, one.resubmissions, with_tail)
        info.external_jobid = status.job_id or None
        self._journal.reported([one.work])
        self.report_job_error(info, msg=words, aux_logs=logs)

    def _record(self) -> None:
        """Note in the journal what Snakemake has recorded: from then on an old result is no reason not to run."""
        dag = self.workflow.dag
        recorded = [
            one
            for one in self._unrecorded
            if all(dag.finished(member) for member in (one.job.jobs if one.job.is_group() else [one.job]))
        ]
        if recorded:
            self._journal.reported([one.work for one in recorded])
            self._unrecorded = [one for one in self._unrecorded if one not in recorded]

    def _is_direct(self, job: Any) -> bool:
        return bool(self._settings.direct) and may_run_directly(job, self.workflow)

    def _tell_remaining(self) -> None:
        self._backend.remaining(more_to_come(self.workflow, self._failed))
