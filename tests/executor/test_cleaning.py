"""Files of ended attempts do not pile up."""

from __future__ import annotations

import json
from pathlib import Path

from snakemake_executor_plugin_submitit.child import write_state
from snakemake_executor_plugin_submitit.cleaning import clean, remove_job
from snakemake_executor_plugin_submitit.folder import Folder
from snakemake_executor_plugin_submitit.journal import Journal
from tests.executor.conftest import Works


def names(*folders: Path) -> set[str]:
    return {path.name for folder in folders for path in folder.iterdir()}


def test_only_the_last_ended_attempts_keep_their_files(folder: Folder, work: Works) -> None:
    journal = Journal(folder.journal)
    works = [work(f"k-{index}", attempt=index + 1) for index in range(5)]
    journal.works(works)
    for one in works:
        journal.begin(f"one-{one.key}", "slurm", [one])
        write_state(folder, one, 1, "7")
        folder.log(one.name, one.key, one.attempt).touch()
        (folder.submission(f"one-{one.key}") / "7").mkdir(parents=True)
    # The first is open, and was tried before; nobody knows of what is not in the journal.
    journal.works([work("k-0", attempt=2)])
    write_state(folder, work("k-0", attempt=2), 1, "8")
    folder.log("other", "unknown", 1).touch()
    for one in (works[4], works[1], works[2], works[3]):
        journal.reported([one])
    clean(folder, Journal(folder.journal), kept=2)
    assert names(folder.states) == {"k-0.1.json", "k-0.2.json", "k-2.3.json", "k-3.4.json"}
    assert names(folder.logs) == {
        *("one.k-0.k-0.1.log", "one.k-2.k-2.3.log", "one.k-3.k-3.4.log", "other.unknown.1.log"),
    }
    assert names(folder.jobs) == {"one-k-0", "one-k-2", "one-k-3"}


def test_sessions_without_an_open_job_or_allocation_go(folder: Folder, work: Works) -> None:
    journal = Journal(folder.journal)
    allocation, job = work("pilot-alive-1"), work("a")
    journal.works([allocation, job, work("pilot-ended-1")])
    journal.begin("used/123", "pilot", [job])
    journal.reported([work("pilot-ended-1")])
    for name in ("alive", "used", "ended"):
        (folder.pilot / name / "inbox").mkdir(parents=True)
    clean(folder, journal)
    assert names(folder.pilot) == {"alive", "used"}


def test_a_submissions_files_go_with_its_last_job(tmp_path: Path) -> None:
    submission = tmp_path / "one-1"
    for job in ("7_0", "7_1", "%j"):
        (submission / job).mkdir(parents=True)
    (submission / "batch.sh").touch()
    remove_job(submission / "7_0")
    assert names(submission) == {"7_1", "%j", "batch.sh"}
    remove_job(submission / "7_1")
    assert names(tmp_path) == set()
    remove_job(None)


def test_the_journal_is_left_alone(folder: Folder, work: Works) -> None:
    journal = Journal(folder.journal)
    journal.works([work("a")])
    before = folder.journal.read_bytes()
    clean(folder, journal, kept=0)
    assert folder.journal.read_bytes() == before
    assert json.loads(before)["event"] == "works"
