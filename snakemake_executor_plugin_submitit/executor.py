"""What Snakemake calls: jobs become works, statuses become Snakemake's reports."""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

from .backend import Done, Lost, Running, Status, Work
from .cleaning import KEPT, clean
from .command import default_resources, describe, may_run_directly, prepare
from .factory import make_backend, make_folder, make_journal
from .failure import explain
from .remaining import more_to_come
from .resume import Past
from .slurm import leave_slurm_job
from .tracked import Tracked
from .trouble import Trouble


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
        self._journal = make_journal(self._folder, self.logger)
        clean(self._folder, self._journal)
        self._past = Past(self._journal, self._folder)
        self._backend = make_backend(
            settings,
            self._folder,
            self._journal,
            self.logger,
            settle_seconds=float(self.workflow.execution_settings.latency_wait),
            defaults=default_resources(self.workflow),
        )
        self._trouble = Trouble(self.logger)
        self._tracked: dict[str, Tracked] = {}
        # The backend has reported these ends and forgotten them; they wait to be handled.
        self._ended: dict[str, Status] = {}
        # These are reported as successes, and may not be in Snakemake's own records yet.
        self._unrecorded: list[Tracked] = []
        self._cancelled = False
        self._since_clean = 0
        self._failed: set[Any] = set()
        # Snakemake's main thread submits and cancels; its status thread polls.
        self._backend_lock = threading.RLock()
        if not self.workflow.dag_settings.force_incomplete:
            self.logger.info(
                "Should this Snakemake be killed, its jobs go on; the next one takes their results if it is started "
                "with --rerun-incomplete, and refuses to run without."
            )

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
        statuses = self._statuses([info.aux["key"] for info in active_jobs])
        for info in active_jobs:
            if not self._report(info, statuses.get(info.aux["key"], Running())):
                yield info

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Cancel everything; the list is not used, since the status thread empties it while it asks."""
        with self._backend_lock:
            self._cancelled = True
            keys = [key for key, one in list(self._tracked.items()) if not (one.outcome or one.rivals or one.due)]
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
        try:
            self._record()
        except OSError as error:
            self.logger.warning(f"{self._folder.journal}: {error.strerror}; what ended last may be run again")
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
            tracked = self._tracked[work.key] = Tracked(job, work)
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

    def _submit(self, tracked: Sequence[Tracked]) -> None:
        for one in tracked:
            attempt = self._journal.next_attempt(one.work.key)
            # These attempts are of a journal that was removed.
            while self._folder.state(one.work.key, attempt).exists():
                attempt += 1
            one.work = replace(one.work, attempt=attempt)
            one.attached = False
        if works := [one.work for one in tracked]:
            self._journal.works(works)
            self._backend.submit(works)
        for one in tracked:
            one.due = False

    def _statuses(self, keys: Sequence[str]) -> Mapping[str, Status]:
        """Statuses of jobs; nothing where they cannot be told now."""
        if self._trouble.rests:
            return {}
        try:
            self._record()
            with self._backend_lock:
                statuses = self._poll(keys)
        except Exception as error:
            # This thread must not end: Snakemake would wait for it for ever.
            self._trouble.note(error)
            return {}
        self._trouble.over()
        return statuses

    def _poll(self, keys: Sequence[str]) -> dict[str, Status]:
        """Statuses to report; works that come again are submitted again, and count as running."""
        if self._cancelled:
            return {key: Running() for key in keys}
        tracked = {key: self._tracked[key] for key in keys}
        rivals = {rival for one in tracked.values() for rival in one.rivals}
        asked = {key for key, one in tracked.items() if not (one.outcome or one.rivals or one.due)}
        answers = self._backend.poll((asked | rivals) - self._ended.keys())
        self._ended |= {key: status for key, status in answers.items() if not isinstance(status, Running)}
        for key, one in tracked.items():
            if one.rivals:
                self._forget_rivals(one)
                one.due = not one.rivals
            elif one.comes_again(self._ended.get(key, Running()), self._settings.resubmissions, self.logger):
                one.due = True
                del self._ended[key]
        self._submit([one for one in tracked.values() if one.due])
        return {
            key: Running() if one.rivals else one.outcome or self._ended.get(key, Running())
            for key, one in tracked.items()
        }

    def _forget_rivals(self, one: Tracked) -> None:
        ended = one.rivals.keys() & self._ended.keys()
        if ended:
            self._journal.reported([one.rivals[rival] for rival in ended])
        for rival in ended:
            del one.rivals[rival], self._ended[rival]

    def _report(self, info: SubmittedJobInfo, status: Status) -> bool:
        """Tell Snakemake of an end; returns whether there was one, and it was told."""
        key = info.aux["key"]
        if isinstance(status, Running):
            return False
        one = self._tracked[key]
        if isinstance(status, Done) and status.rc == 0:
            self._unrecorded.append(one)
        else:
            try:
                self._journal.reported([one.work])
            except OSError as error:
                # A warning is enough: no reader of the journal relies on an end without success.
                self.logger.warning(f"{self._folder.journal}: {error.strerror}")
        del self._tracked[key]
        self._ended.pop(key, None)
        if isinstance(status, Done) and status.rc == 0:
            self.report_job_success(info)
        else:
            self._report_failure(info, one, status)
        return True

    def _report_failure(self, info: SubmittedJobInfo, one: Tracked, status: Done | Lost) -> None:
        log = self._folder.log(one.work.name, one.work.key, one.work.attempt)
        # With --show-failed-logs Snakemake prints the whole log.
        with_tail = not self.workflow.output_settings.show_failed_logs
        words, logs = explain(status, log, one.resubmissions, with_tail)
        info.external_jobid = status.job_id or None
        if one.job.is_group():
            # Snakemake prints the members of a group, and not why it failed.
            self.logger.error(f"{one.work.name}: {words.rstrip()}")
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
            self._since_clean += len(recorded)
        if self._since_clean >= KEPT:
            self._since_clean = 0
            clean(self._folder, self._journal)

    def _is_direct(self, job: Any) -> bool:
        return bool(self._settings.direct) and may_run_directly(job, self.workflow)

    def _tell_remaining(self) -> None:
        self._backend.remaining(more_to_come(self.workflow, self._failed))
