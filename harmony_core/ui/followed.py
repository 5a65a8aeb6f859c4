"""Searches that somebody looks at: read again when they are asked about, in one thread each, and not otherwise."""

from __future__ import annotations

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import polars as pl

from harmony_core.errors import UserError
from harmony_core.progress import Failure, Pace, ProgressReader, SearchProgress, read_waiting
from harmony_core.results import promoted_results
from harmony_core.results.budget import spending
from harmony_core.search.settings import read_settings
from harmony_core.store import Manifest, SearchFolder, missing_lines, read_manifest
from harmony_core.ui.catalogue import Attempt, Catalogue, Snapshot
from harmony_core.ui.families import with_families
from harmony_core.ui.generation_rows import Columns
from harmony_core.workflow import main_lease

LEAST_PAUSE_SECONDS = 1.0
# What reads may take this share of a core; a search is looked at so often all the same, as people wait for it.
_SHARE, _MOST_PAUSE_SECONDS = 0.03, 2.0
_MOST_FAILURES = 50
_MOST_UNDER_WAY = 100


@dataclasses.dataclass(frozen=True)
class View:
    """What is known of a search at one moment.

    Args:
        manifest: what it is; None before its data is prepared, or where it cannot be read.
        error: why it cannot be read, in a line; empty where it can.
        snapshot: its candidates; None before the first reading.
        under_way: attempts that have begun and not ended, the first of them where they are many.
        columns: what each of them has.
        progress: how far it is; None before the first reading, or where that is not to be had.
        progress_error: why not.
        seconds_left: until the last training ends; None where nobody can say.
        per_hour: trainings that end in an hour; None before there is evidence.
        failures: the last candidates that failed while it was followed.
        waiting: what its jobs wait for in a queue.
        is_whole: whether a reading has ended, so that all of these are known that can be.
    """

    manifest: Manifest | None = None
    error: str = ""
    snapshot: Snapshot | None = None
    under_way: tuple[Attempt, ...] = ()
    columns: Columns | None = None
    progress: SearchProgress | None = None
    progress_error: str = ""
    seconds_left: float | None = None
    per_hour: float | None = None
    failures: tuple[Failure, ...] = ()
    waiting: str | None = None
    is_whole: bool = False


class Now:
    """A value that takes long to find: it is found again in the background, and the last one is answered meanwhile.

    Args:
        find: finds it.
        pool: runs it.
        least_pause: seconds between two.
        most_pause: seconds between two, however much it costs.
        before: the value until it is found first.
    """

    def __init__(
        self,
        find: Callable[[], Any],
        pool: ThreadPoolExecutor,
        least_pause: float,
        most_pause: float = math.inf,
        before: Any = None,
    ) -> None:
        self.value = before
        self.is_known = False
        self._find, self._pool, self._pauses = find, pool, (least_pause, most_pause)
        self._running: Future[None] | None = None
        self._due = float("-inf")
        self._lock = threading.Lock()

    def get(self, patience: float = 0.0) -> Any:
        """The last value, after it was found again or `patience` [s] is over; `before` until there is one."""
        with self._lock:
            if (self._running is None or self._running.done()) and time.monotonic() >= self._due:
                self._running = self._pool.submit(self._renew)
            running = self._running
        if running is not None and not running.done():
            wait([running], patience)
        if running is not None and running.done():
            # What went wrong that nobody foresaw is the asker's to see.
            running.result()
        return self.value

    def _renew(self) -> None:
        # The time of this thread on a core: on a busy machine all else takes longer, and costs no more.
        began = time.thread_time()
        try:
            self.value = self._find()
            self.is_known = True
        finally:
            least, most = self._pauses
            self._due = time.monotonic() + min(most, max(least, (time.thread_time() - began) / _SHARE))


class Followed:
    """One search.

    Args:
        folder: its.
        pool: reads it.
    """

    def __init__(self, folder: SearchFolder, pool: ThreadPoolExecutor) -> None:
        self.folder = folder
        self.view = View()
        self._catalogue: Catalogue | None = None
        self._config_seen: tuple[bytes | None, bytes | None] = (None, None)
        self._reader, self._pace = ProgressReader(folder), Pace()
        self._failures: list[Failure] = []
        self._reading = Now(self._read, pool, LEAST_PAUSE_SECONDS, _MOST_PAUSE_SECONDS)
        # Whether a holder on another host lives is known after as long as it may be silent.
        self.runner = Now(self._holder, pool, 2.0)
        self.spent = Now(self._spending, pool, 30.0)
        self.missing = Now(self._missing, pool, 30.0)
        self.promoted = Now(self._promoted, pool, 5.0, before=pl.DataFrame())

    def look(self, patience: float = 1.0) -> View:
        """What is known now; what is read longer than `patience` [s] is there the next time."""
        self._reading.get(patience)
        return self.view

    def _set(self, **values: Any) -> None:
        self.view = dataclasses.replace(self.view, **values)

    def _read(self) -> None:
        try:
            self._open()
            if self._catalogue is not None:
                self._catalogue.refresh(lambda snapshot: self._set(snapshot=snapshot, error=""))
                self._set(under_way=tuple(self._catalogue.under_way(_MOST_UNDER_WAY)))
        except (UserError, OSError) as error:
            self._set(error=str(error), is_whole=True)
            return
        self._read_progress()

    def _open(self) -> None:
        """Reads what the search is, and again where another has its place or it was started with more generations."""
        seen = (_content(self.folder.manifest), _content(self.folder.config))
        if seen == self._config_seen:
            return
        self._config_seen = seen
        self._catalogue = None
        if seen[0] is None:
            # Raises where this is no search; one that has begun a moment ago has no manifest yet.
            if not self.folder.main.is_file():
                SearchFolder.find(self.folder.path)
            self._set(manifest=None, error="")
            return
        # What was known is another search's, or of another configuration.
        self.view = View()
        manifest = read_manifest(self.folder.manifest)
        _, config = read_settings(self.folder, manifest)
        columns = Columns(config, manifest.config)
        self._reader = ProgressReader(self.folder)
        self._catalogue = Catalogue(self.folder, manifest, columns)
        self._set(manifest=manifest, columns=columns)

    def _read_progress(self) -> None:
        try:
            progress = self._reader.read()
        except (UserError, OSError) as error:
            self._set(progress=None, progress_error=str(error), is_whole=True)
            return
        self._failures = [*self._failures, *progress.failures][-_MOST_FAILURES:]
        left = self._pace.seconds_left(progress)
        self._set(
            progress=progress,
            progress_error="",
            seconds_left=left,
            per_hour=_per_hour(progress, left),
            failures=tuple(self._failures),
            waiting=read_waiting(self.folder),
            is_whole=True,
        )

    def _holder(self) -> str | None:
        held = main_lease(self.folder).holder()
        return None if held is None else held.holder

    def _spending(self) -> str | None:
        try:
            return spending(self.folder)
        except UserError:
            # The damaged file is named among the problems.
            return None

    def _promoted(self) -> pl.DataFrame:
        """What promotion came to, with families; nothing where a file of it cannot be read."""
        try:
            rows = promoted_results(self.folder).collect()
        except UserError:
            return pl.DataFrame()
        return rows if rows.is_empty() else with_families(rows)

    def _missing(self) -> list[str]:
        try:
            return missing_lines(self.folder)
        except UserError:
            return []


class Searches:
    """All searches that there are, each followed from when it is first asked about.

    Args:
        only: the one that is shown; None is every one under `results/`.
    """

    def __init__(self, only: SearchFolder | None = None) -> None:
        self._only = only
        self._pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="read")
        self._followed: dict[Path, Followed] = {}
        self._lock = threading.Lock()

    def folders(self) -> list[SearchFolder]:
        """Their folders, by name."""
        return SearchFolder.all() if self._only is None else [self._only]

    def followed(self, name: str) -> Followed:
        """The search of a name; names are compared, and never become paths.

        Raises:
            UserError: there is none.
        """
        for folder in self.folders():
            if folder.name == name:
                with self._lock:
                    if folder.path not in self._followed:
                        self._followed[folder.path] = Followed(folder, self._pool)
                    return self._followed[folder.path]
        raise UserError("search", name, "no such search here")

    def close(self) -> None:
        """Reads no more."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _per_hour(progress: SearchProgress, seconds_left: float | None) -> float | None:
    """Trainings of the search's own budget that end in an hour, by the same evidence as the time that is left."""
    return None if not seconds_left else progress.work_left / seconds_left * 3600


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
