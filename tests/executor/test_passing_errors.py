"""Errors of a shared file system that pass are waited out, and the status thread goes on over all others."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_submitit import shared_files, trouble
from snakemake_executor_plugin_submitit.folder import Folder, find_state, read_json, write_json
from snakemake_executor_plugin_submitit.journal import Journal
from snakemake_executor_plugin_submitit.shared_files import NotOurs, patiently
from snakemake_executor_plugin_submitit.trouble import Trouble
from tests.executor.conftest import Works
from tests.executor.workflow import Workflow

LOG = logging.getLogger("test")


class Failing:
    """Fails so often, then answers."""

    def __init__(self, number: int, times: int) -> None:
        self.number, self.times, self.calls = number, times, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return "answer"


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT])
def test_passing_errors_are_waited_out(number: int) -> None:
    failing = Failing(number, 3)
    assert patiently(failing) == "answer"
    assert failing.calls == 4


def test_patience_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_files, "PATIENCE_SECONDS", 0.3)
    with pytest.raises(OSError, match="Stale file handle"):
        patiently(Failing(errno.ESTALE, 1000))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EACCES, errno.ENOENT])
def test_errors_that_do_not_pass_are_not_waited_for(number: int) -> None:
    failing = Failing(number, 1)
    with pytest.raises(OSError, match=os.strerror(number)):
        patiently(failing)
    assert failing.calls == 1


def test_every_file_is_read_and_written_patiently(
    tmp_path: Path, folder: Folder, work: Works, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(folder.journal)
    stale = {"left": 0}

    def fails_first(function: Any) -> Any:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if stale["left"]:
                stale["left"] -= 1
                raise OSError(errno.ESTALE, "Stale file handle")
            return function(*arguments, **named)

        return wrapped

    for module, name in ((os, "replace"), (os, "link"), (os, "fstat"), (os, "fsync")):
        monkeypatch.setattr(module, name, fails_first(getattr(module, name)))
    for action in (
        lambda: write_json(tmp_path / "a", 1),
        lambda: read_json(tmp_path / "a"),
        lambda: journal.works([work("a")]),
        lambda: Journal(folder.journal),
        lambda: find_state(folder, "a", 1),
    ):
        stale["left"] = 2
        action()
    stale["left"] = 0
    assert Journal(folder.journal).open_attempt("a") == 1
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_what_was_removed_is_written_again(folder: Folder, work: Works, caplog: pytest.LogCaptureFixture) -> None:
    journal = Journal(folder.journal, LOG)
    journal.works([work("a"), work("b")])
    journal.begin("tag", "slurm", [work("a"), work("b")])
    journal.submitted("tag", ["7_0", "7_1"])
    journal.reported([work("b")])
    shutil.rmtree(folder.root)
    journal.works([work("c")])
    assert folder.root.stat().st_mode & 0o777 == 0o700
    assert f"{folder.journal}: removed while jobs are under way, and written again" in caplog.text
    again = Journal(folder.journal)
    assert set(again.open_keys()) == {"a", "c"}
    assert again.place("a", 1) == journal.place("a", 1)
    assert again.next_attempt("b") == 2


def test_trouble_is_told_once_rests_longer_each_time_and_ends(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [0.0]
    monkeypatch.setattr(trouble.time, "monotonic", lambda: now[0])
    one = Trouble(LOG, patience_seconds=100)
    rests = []
    for _ in range(4):
        one.note(OSError(errno.ESTALE, "Stale file handle"))
        begun = now[0]
        while one.rests:
            now[0] += 0.5
        rests.append(now[0] - begun)
    assert rests == [1.0, 2.0, 4.0, 8.0]
    assert caplog.text.count("Stale file handle") == 1
    one.over()
    assert not one.rests
    now[0] += 1000
    one.note(ValueError("rubbish"))
    now[0] += 101
    with pytest.raises(ValueError, match="rubbish"):
        one.note(ValueError("rubbish"))


def test_what_another_may_have_written_ends_it_at_once() -> None:
    with pytest.raises(NotOurs):
        Trouble(LOG).note(NotOurs("others may write"))


FAULTS = {
    "stale for 3 s": (
        "OSError(errno.ESTALE, 'Stale file handle')",
        "time.monotonic() < begun + 3",
        "",
    ),
    "no permission, then rubbish": (
        # The first call is of the cleaning at the start, which leaves what it cannot remove.
        "PermissionError(errno.EACCES, 'Permission denied') if calls <= 2 else ValueError('rubbish')",
        "calls <= 3",
        "asking again: PermissionError: [Errno 13] Permission denied",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_whole_run_goes_on_over_errors_of_its_listing(workflow: Workflow, tmp_path: Path, fault: str) -> None:
    """The main process alone; its jobs see no fault."""
    error, condition, said = FAULTS[fault]
    (tmp_path / "sitecustomize.py").write_text(
        textwrap.dedent(f"""
        import errno, os, sys, time
        listdir, begun, calls = os.listdir, 0.0, 0
        def failing(path="."):
            global begun, calls
            if str(path).endswith("submitit/state"):
                begun, calls = begun or time.monotonic(), calls + 1
                if {condition}:
                    raise {error}
            return listdir(path)
        if "snakemake" in sys.orig_argv:
            os.listdir = failing
        """)
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    workflow.environment["PYTHONPATH"] = path
    workflow.write("rule one:\n    output: 'out/{i}'\n    shell: 'touch {output}'\n", targets='"out/0"')
    code, output = workflow.run()
    assert code == 0, output
    assert said in output
    assert workflow.attempts() == 1
