"""Snakemake's log records, as HARMONY tells them.

Snakemake imports every logger plugin at every start: what is heavy is imported where it is used.
"""

import sys
from collections.abc import Sequence
from logging import LogRecord
from pathlib import Path

from snakemake.logging import ColorizingTextHandler, DefaultFilter, DefaultFormatter
from snakemake.settings.enums import Quietness
from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from harmony_core import stopping
from snakemake_logger_plugin_harmony.chatter import is_chatter
from snakemake_logger_plugin_harmony.failed_jobs import FailedJobs
from snakemake_logger_plugin_harmony.follower import Follower
from snakemake_logger_plugin_harmony.stopped import is_said_after, last_line

_HEARING_SECONDS = 2.0
# The executor plugin says this when jobs wait, and when none does any more.
_WAITING = ("Waiting in Slurm's queue", "Nothing waits in Slurm's queue")


class LogHandler(LogHandlerBase):
    """Prints errors, warnings and notes, and follows the search that the jobs belong to.

    A dry run is told as Snakemake tells it. `quiet` can silence progress and notes, never an error.
    """

    def __post_init__(self) -> None:
        from rich.console import Console

        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        self._console = Console(file=stream, no_color=settings.nocolor or None)
        self._formatter = DefaultFormatter()
        self._quiet = set(settings.quiet or ())
        self._failed_jobs = FailedJobs()
        self._follower: Follower | None = None
        self._search: Path | None = None
        self._said_last = False
        stopping.hear_interrupt()
        stopping.hear_hangup(self._say_last)
        self._dry_run: ColorizingTextHandler | None = None
        if settings.dryrun:
            self._dry_run = ColorizingTextHandler(
                settings.nocolor,
                stream,
                DefaultFormatter(settings.quiet),
                DefaultFilter(
                    settings.quiet, settings.debug_dag, settings.verbose, settings.dryrun, settings.printshellcmds
                ),
            )

    def emit(self, record: LogRecord) -> None:
        """Tells one record; called in the one thread of Snakemake's queue of records."""
        try:
            if self._dry_run is not None:
                self._dry_run.handle(record)
            else:
                self._tell(record)
        except Exception:
            # Every handler of logging does this: the traceback goes to standard error, and the run goes on.
            self.handleError(record)

    def close(self) -> None:
        """Leaves the terminal as it should be; called when all records have been told."""
        try:
            self._note_waiting(_WAITING[1])
        except OSError as error:
            self._print(f"{error}; `harmony watch` may say that jobs wait", "yellow")
        if stopping.told_by() is not None:
            self._say_last()
        else:
            self._end_following()
            for text in self._failed_jobs.left_over():
                self._print(text, "red")
        super().close()

    def _end_following(self) -> None:
        if self._follower is not None:
            self._follower.end()
            self._follower = None

    def _say_last(self) -> None:
        """What is done and how to go on, once, after everything else."""
        self._end_following()
        by = stopping.told_by()
        if by is not None and not self._said_last and self._dry_run is None:
            self._said_last = True
            self._print(last_line(by, self._search), "yellow")

    def _tell(self, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.JOB_INFO:
            self._failed_jobs.note_job(record)
            self._follow(record.output)  # type: ignore[attr-defined]
        elif event in (LogEvent.JOB_FINISHED, LogEvent.JOB_ERROR) and self._follower is not None:
            self._follower.look()
        elif event is None:
            self._note_waiting(record.getMessage())
        if event in (LogEvent.JOB_ERROR, LogEvent.ERROR) and self._is_stopped(record):
            return
        if event == LogEvent.JOB_ERROR:
            self._print(self._failed_jobs.describe(record), "red")
        elif event == LogEvent.ERROR and self._failed_jobs.note_exit(record.getMessage()):
            # The record of the job comes next, and is printed with it.
            return
        elif self._is_shown(record, event):
            styles = {"ERROR": "red", "CRITICAL": "red", "WARNING": "yellow"}
            self._print(self._formatter.format(record), styles.get(record.levelname))

    def _is_stopped(self, record: LogRecord) -> bool:
        """Whether a job's failure, or what is said of it, comes of the signal that told Snakemake to stop."""
        text = record.getMessage()
        is_end = hasattr(record, "jobid") or self._failed_jobs.is_exit(text)
        # Ctrl-C goes to the jobs too, which may end before Snakemake's main thread hears of it.
        seconds = _HEARING_SECONDS if self._failed_jobs.is_by_signal(text) else 0.0
        return is_end and stopping.told_by(seconds) is not None

    def _is_shown(self, record: LogRecord, event: LogEvent | None) -> bool:
        if stopping.told_by() is not None:
            return is_said_after(record)
        if record.levelname in ("WARNING", "ERROR", "CRITICAL"):
            return True
        settings = self.common_settings
        if Quietness.ALL in self._quiet:
            return False
        wanted = {LogEvent.SHELLCMD} if settings.printshellcmds else set()
        wanted |= {LogEvent.DEBUG_DAG} if settings.debug_dag else set()
        if settings.verbose or event in wanted:
            return True
        return event is None and record.levelname != "DEBUG" and not is_chatter(record.getMessage())

    def _note_waiting(self, text: str) -> None:
        """Leaves for `harmony watch` what the executor says of jobs that wait."""
        if self._search is not None and text.startswith(_WAITING):
            from harmony_core.progress import note_waiting
            from harmony_core.store import SearchFolder

            note_waiting(SearchFolder(self._search), text if text.startswith(_WAITING[0]) else None)

    def _follow(self, outputs: Sequence[str]) -> None:
        """Follows the search to which a job's outputs belong, unless one is followed."""
        if self._search is not None:
            return
        from harmony_core.store.folder import SWEEP_FILE

        for output in outputs:
            # All searches of HARMONY lie there, relative to the folder that Snakemake works in.
            parts = Path(output).parts
            if parts[0] == "results" and len(parts) > 2:
                self._search = Path(*parts[:2]).absolute()
                # What a sweep's trainings say is in its log.
                is_sweep = (self._search / SWEEP_FILE).is_file()
                if not is_sweep and not self._quiet & {Quietness.ALL, Quietness.PROGRESS}:
                    self._follower = Follower(self._search, self._console)
                return

    def _print(self, text: str, style: str | None = None) -> None:
        # Snakemake sends records without a text, which carry data alone.
        if text and text != "None":
            self._console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    @property
    def writes_to_stream(self) -> bool:
        """Snakemake's own handler keeps quiet."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake writes its own log file."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake's own would hide failed jobs where `quiet` has `rules`."""
        return True

    @property
    def has_formatter(self) -> bool:
        """Records are told here."""
        return True

    @property
    def needs_rulegraph(self) -> bool:
        """The graph is not drawn."""
        return False
