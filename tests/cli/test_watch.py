"""`harmony watch` from another shell: a search that runs, ended, was killed, is not there."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from harmony_core.progress import note_waiting
from harmony_core.workers import Lease
from harmony_core.workflow import main_lease
from tests.progress.searches import MadeUpSearch
from tests.waiting import PATIENCE

VALUES: dict[int, tuple[float | None, float]] = {number: (3.0 + number, 0.01) for number in range(8)}


def call(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "harmony_core", "watch", *arguments]


def watch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(call(*arguments), capture_output=True, text=True, check=False, cwd=folder, timeout=PATIENCE)


@pytest.fixture
def search(tmp_path: Path) -> Iterator[MadeUpSearch]:
    """A search that was started, and has an open generation."""
    made = MadeUpSearch(tmp_path, generations=1)
    made.record_start()
    made.prepare()
    made.breed(0)
    made.open(0)
    made.begin(0, 0)
    yield made
    made.end()


def finish(search: MadeUpSearch) -> None:
    search.finish(0, VALUES)
    search.folder.report.mkdir()
    (search.folder.report / "index.html").touch()


@pytest.mark.parametrize("arguments", [("toy", "--once"), ("results/toy",)])
def test_a_killed_search_says_that_nobody_runs_it(
    search: MadeUpSearch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    done = watch(tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert "generation 0: 0/8 done, 1 running, 7 queued" in done.stdout
    # What is seen once is seen whole; in a file that is followed such lines would be most of it.
    assert (": starting" in done.stdout) == ("--once" in arguments)
    assert done.stdout.splitlines()[-1].startswith("nobody runs it")
    assert "harmony resume toy" in done.stdout


def test_a_finished_search_is_told_and_left(search: MadeUpSearch, tmp_path: Path) -> None:
    finish(search)
    done = watch(tmp_path, "toy")
    assert done.returncode == 0, done.stderr
    assert "generation 0: 8 evaluated" in done.stdout
    assert done.stdout.splitlines()[-1] == "search toy: finished, results/toy/report/index.html"


@contextmanager
def watching(folder: Path, **streams: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A `harmony watch` that does not outlive the test."""
    process = subprocess.Popen(call("toy"), cwd=folder, **streams)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def lease(search: MadeUpSearch) -> Iterator[Lease]:
    """The right to run the search, which this process has."""
    held = main_lease(search.folder)
    held.acquire()
    yield held
    held.release()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Where to read and where to write."""
    ours, theirs = os.pipe()
    yield ours, theirs
    os.close(ours)


def test_once_says_who_runs_it_and_ends(search: MadeUpSearch, lease: Lease, tmp_path: Path) -> None:
    done = watch(tmp_path, "toy", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(f"run by pid {os.getpid()} on ")


def test_it_follows_a_search_to_its_end(
    search: MadeUpSearch, lease: Lease, pipe: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = pipe
    with watching(tmp_path, stdout=theirs) as process:
        os.close(theirs)
        # It has begun to follow once it has said what is searched.
        read_until(ours, "search toy: seed 1")
        search.train(0, 5, None)
        read_until(ours, "candidate 5")
        finish(search)
        read_until(ours, "search toy: finished")
        assert process.wait(PATIENCE) == 0


def test_what_jobs_wait_for_is_shown_while_somebody_runs_it(search: MadeUpSearch, lease: Lease, tmp_path: Path) -> None:
    note_waiting(search.folder, "Waiting in Slurm's queue: 2 for free nodes")
    assert "Waiting in Slurm's queue: 2 for free nodes" in watch(tmp_path, "toy", "--once").stdout
    # A main process that was killed leaves its note.
    lease.release()
    assert "Waiting" not in watch(tmp_path, "toy", "--once").stdout
    lease.acquire()
    note_waiting(search.folder, None)
    assert "Waiting" not in watch(tmp_path, "toy", "--once").stdout


def test_it_notices_that_the_main_process_is_gone(
    search: MadeUpSearch, lease: Lease, pipe: tuple[int, int], tmp_path: Path
) -> None:
    ours, theirs = pipe
    with watching(tmp_path, stdout=theirs) as process:
        os.close(theirs)
        read_until(ours, "search toy: seed 1")
        lease.release()
        read_until(ours, "nobody runs it")
        assert process.wait(PATIENCE) == 0


def test_ctrl_c_leaves_and_the_terminal_is_as_it_was(search: MadeUpSearch, lease: Lease, tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    try:
        with watching(tmp_path, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=own_terminal) as process:
            os.close(theirs)
            shown = read_until(ours, "generation 0: 0/8 done")
            os.write(ours, b"\x03")
            shown += read_until(ours, None)
            assert process.wait(PATIENCE) == 0
    finally:
        os.close(ours)
    assert "\x1b[?25l" in shown
    assert "\x1b[?25h" in shown.rpartition("\x1b[?25l")[2]
    assert "Traceback" not in shown
    assert "Aborted" not in shown


def own_terminal() -> None:
    """Makes standard input the terminal that controls this process (for `preexec_fn`)."""
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(source: int, text: str | None) -> str:
    """What a terminal or pipe brings, until `text` or, for None, its end."""
    shown, deadline = "", time.monotonic() + PATIENCE
    while text is None or text not in shown:
        ready, _, _ = select.select([source], [], [], deadline - time.monotonic())
        assert ready, shown
        try:
            part = os.read(source, 65536)
        except OSError:
            # Linux's word for the end of a terminal.
            part = b""
        if not part:
            assert text is None, shown
            break
        shown += part.decode()
    return shown


def test_a_search_whose_data_is_not_there_yet(tmp_path: Path) -> None:
    MadeUpSearch(tmp_path).record_start()
    done = watch(tmp_path, "toy", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("search toy: its data is not prepared yet\nnobody runs it")


@pytest.mark.parametrize("once", [(), ("--once",)])
def test_an_unknown_search_is_one_line(search: MadeUpSearch, tmp_path: Path, once: tuple[str, ...]) -> None:
    done = watch(tmp_path, "nowhere", *once)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: search: nowhere: no such search")
    assert "results/ holds toy" in done.stderr


def test_a_damaged_file_is_one_line(search: MadeUpSearch, tmp_path: Path) -> None:
    finish(search)
    path = search.folder.selection(0)
    path.write_bytes(path.read_bytes()[:-100])
    done = watch(tmp_path, "toy")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "selection.parquet" in done.stderr


def test_a_file_that_cannot_be_read_is_one_line(search: MadeUpSearch, tmp_path: Path) -> None:
    # As one without the right to it, which a test that runs as root cannot take from itself.
    search.journal("training", 0, 1).path.mkdir(parents=True)
    done = watch(tmp_path, "toy", "--once")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "journal.jsonl" in done.stderr
