"""Slurm's commands replaced by scripts on PATH: what is asked, how often, and what is made of the answers.

tests/slurm runs the plugin on a real Slurm; here are the answers that a small one does not give.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.cluster import Outlook, Refusal, Refused
from snakemake_executor_plugin_submitit.folder import Folder
from snakemake_executor_plugin_submitit.journal import Place
from snakemake_executor_plugin_submitit.slurm import (
    REQUEUE_SECONDS,
    REQUEUES,
    UNREADABLE_SECONDS,
    Slurm,
    leave_slurm_job,
)

Command = Callable[[str, str], None]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in front of PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.fixture
def command(path: Path) -> Command:
    """Put a script on PATH; each of its calls is noted with its arguments."""

    def write(name: str, script: str) -> None:
        (path / name).write_text(f'#!/bin/bash\necho "{name} $*" >> {path}/calls\n{script}\n')
        (path / name).chmod(0o755)

    for name in ("sbatch", "squeue", "scancel", "scontrol", "sinfo", "srun", "sacct"):
        write(name, "exit 0")
    return write


@pytest.fixture
def slurm(folder: Folder, command: Command) -> Slurm:
    """Slurm, asked as often as wanted."""
    return Slurm(folder, logging.getLogger("test"), query_seconds=0, settle_seconds=5)


def calls(path: Path, name: str) -> list[str]:
    noted = path / "calls"
    lines = noted.read_text().splitlines() if noted.exists() else []
    return [line for line in lines if line.split()[0] == name]


def place(job_id: str | None = "7_0", index: int = 0) -> Place:
    return Place("slurm", "one-1234", index, job_id)


@pytest.mark.parametrize(
    ("row", "over", "words", "settle"),
    [
        ("7|0|PENDING|Priority|||x", False, "", 0.0),
        ("7|0|RUNNING|None|||x", False, "", 0.0),
        ("7|0|COMPLETING|None|||x", False, "", 0.0),
        ("7|0|REQUEUED|None|||x", False, "", 0.0),
        ("7|0|PENDING|BeginTime|||x", False, "", 0.0),
        ("7|0|TIMEOUT|TimeLimit|||x", True, "TIMEOUT: it ran into its time limit", 5.0),
        ("7|0|OUT_OF_MEMORY|OutOfMemory|||x", True, "mem_mb", 5.0),
        ("7|0|CANCELLED|None|||x", True, "CANCELLED: it was cancelled (scancel)", 5.0),
        ("7|0|NODE_FAIL|NodeDown|||x", True, "NODE_FAIL", REQUEUE_SECONDS),
        ("7|0|PREEMPTED|None|||x", True, "PREEMPTED", REQUEUE_SECONDS),
        ("8|0|RUNNING|None|||x", True, "Slurm no longer knows it (squeue does not list it)", REQUEUE_SECONDS),
    ],
)
def test_states(slurm: Slurm, command: Command, row: str, over: bool, words: str, settle: float) -> None:
    command("squeue", f"echo '{row}'")
    outlooks = slurm.look([place()])
    assert outlooks is not None
    outlook = outlooks[place()]
    assert (outlook.over, outlook.settle_seconds, outlook.hopeless) == (over, settle, False)
    assert words in outlook.words


def test_a_job_that_will_never_start(slurm: Slurm, command: Command) -> None:
    command("squeue", "echo '7|0|PENDING|PartitionTimeLimit|||x'")
    outlooks = slurm.look([place()])
    assert outlooks is not None
    assert outlooks[place()].hopeless


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("7|0|PENDING|Priority|||x", False),
        ("7|0|PENDING|JobHeldUser|||x", True),
        ("7|0|PENDING|job requeued in held state|||x", True),
        ("7|0|RESV_DEL_HOLD|ReservationDeleted|||x", True),
    ],
)
def test_a_job_that_waits_for_somebody_is_told_of_once(
    slurm: Slurm, command: Command, caplog: pytest.LogCaptureFixture, row: str, told: bool
) -> None:
    command("squeue", f"echo '{row}'")
    for _ in range(2):
        outlooks = slurm.look([place()])
        assert outlooks is not None
        assert not outlooks[place()].over
    assert caplog.text.count(f"Slurm job 7_0 waits: {row.split('|')[3]}") == told


def test_all_jobs_are_asked_for_in_one_question(slurm: Slurm, command: Command, path: Path) -> None:
    command("squeue", "for i in $(seq 0 99); do echo \"7|$i|RUNNING|None|||x\"; done; echo '9|N/A|RUNNING|None|||x'")
    places = [*(place(f"7_{index}", index) for index in range(100)), place("9")]
    assert slurm.look(places) == {one: Outlook(False, job_id=one.job_id or "") for one in places}
    assert len(calls(path, "squeue")) == 1


def test_no_question_comes_too_early(folder: Folder, command: Command, path: Path) -> None:
    slurm = Slurm(folder, logging.getLogger("test"), query_seconds=60)
    assert slurm.look([place()]) is not None
    assert slurm.look([place()]) is None
    assert len(calls(path, "squeue")) == 1


def test_no_answer_is_no_news_and_said_once(slurm: Slurm, command: Command, caplog: pytest.LogCaptureFixture) -> None:
    command("squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    assert slurm.look([place()]) is None
    assert slurm.look([place()]) is None
    assert caplog.text.count("Unable to contact slurm controller") == 1


def test_a_command_that_hangs_is_no_news(slurm: Slurm, command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_submitit.squeue.ANSWER_SECONDS", 0.2)
    command("squeue", "exec sleep infinity")
    begun = time.monotonic()
    assert slurm.look([place()]) is None
    assert time.monotonic() - begun < 60


def test_a_job_of_unknown_id_is_found_by_its_name(slurm: Slurm, command: Command) -> None:
    command("squeue", "echo '7|0|RUNNING|None|||one-1234'; echo '7|1|TIMEOUT|None|||one-1234'")
    first, second, third = place(None), place(None, 1), place(None, 2)
    outlooks = slurm.look([first, second, third])
    assert outlooks is not None
    assert outlooks[first] == Outlook(False, job_id="7_0")
    assert (outlooks[second].over, outlooks[second].job_id) == (True, "7_1")
    assert outlooks[third].over


def test_sacct_has_the_words_for_what_slurmctld_forgot(slurm: Slurm, command: Command) -> None:
    command("squeue", "exit 0")
    command("sacct", "echo '7_0|CANCELLED by 1000'")
    outlooks = slurm.look([place()])
    assert outlooks is not None
    assert "Slurm no longer knows it (CANCELLED by sacct)" in outlooks[place()].words


def test_a_site_without_accounting_has_no_words_and_no_error(slurm: Slurm, command: Command, path: Path) -> None:
    command("squeue", "exit 0")
    command("sacct", "echo 'Slurm accounting storage is disabled' >&2; exit 1")
    assert slurm.look([place()])
    (path / "sacct").unlink()
    assert slurm.look([place()])


def test_cancelling_is_one_call(slurm: Slurm, command: Command, path: Path) -> None:
    slurm.cancel([place("7_0"), place("7_1", 1), place("9")])
    (call,) = calls(path, "scancel")
    assert call.endswith("7_0 7_1 9")
    slurm.cancel([])
    assert len(calls(path, "scancel")) == 1


@pytest.mark.parametrize("said", ["sbatch: error: Socket timed out on send/recv operation", ""])
def test_a_submission_of_unknown_fate_is_cancelled_by_its_name(
    slurm: Slurm, command: Command, path: Path, said: str
) -> None:
    command("sbatch", f"echo '{said}' >&2; exit 1")
    with pytest.raises(Refusal) as caught:
        slurm.submit("one-1234", slurm.parameters({}), [print, print])
    assert caught.value.kind is Refused.NOW
    assert caught.value.doubtful == (not said)
    (call,) = calls(path, "scancel")
    assert call.endswith("--name=one-1234")


def test_what_was_refused_for_ever_is_not_in_the_queue(slurm: Slurm, command: Command, path: Path) -> None:
    command("sbatch", "echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2; exit 1")
    with pytest.raises(Refusal, match="Invalid qos specification"):
        slurm.submit("one-1234", slurm.parameters({}), [print])
    assert calls(path, "scancel") == []


@pytest.mark.parametrize(("answer", "largest"), [("MaxArraySize            = 4001", 4001), ("", 1001)])
def test_largest_array_is_asked_for_once(slurm: Slurm, command: Command, path: Path, answer: str, largest: int) -> None:
    command("scontrol", f"echo 'ClusterName = x'; echo '{answer}'")
    assert [slurm.largest_array, slurm.largest_array] == [largest, largest]
    assert len(calls(path, "scontrol")) == 1


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("Unable to contact slurm controller (connect failure)", Refused.NOW),
        ("fetch_config: DNS SRV lookup failed\nscontrol: fatal: no configuration source", Refused.FOREVER),
    ],
)
def test_a_controller_is_waited_for_and_a_machine_of_no_cluster_is_not(
    slurm: Slurm, command: Command, said: str, kind: Refused
) -> None:
    command("scontrol", f"echo 'scontrol: error: {said}' >&2; exit 1")
    with pytest.raises(Refusal) as caught:
        _ = slurm.largest_array
    assert caught.value.kind is kind


def test_snakemake_in_a_job_of_its_own_passes_none_of_it_on() -> None:
    environment = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_CONF": "/etc/slurm.conf", "HOME": "/root"}
    leave_slurm_job(environment)
    assert environment == {"SLURM_CONF": "/etc/slurm.conf", "HOME": "/root"}
    outside = {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "a"}
    leave_slurm_job(outside)
    assert outside == {"SLURM_CONF": "/etc/slurm.conf", "SLURM_CLUSTERS": "a"}


def test_another_jobs_name_that_is_no_text_changes_nothing(slurm: Slurm, command: Command) -> None:
    command("squeue", r"printf '9|N/A|RUNNING|None|n1|n1|caf\xe9\n7|0|RUNNING|None|n1|n1|one-1234\n'")
    assert slurm.look([place()]) == {place(): Outlook(False, job_id="7_0")}


def test_rubbish_is_told_once_and_no_job_that_is_missing_is_given_up_soon(
    slurm: Slurm, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    command("squeue", r"head -c 2000 /dev/zero | tr '\0' '\377'; printf '\nrubbish\n'")
    for _ in range(2):
        outlooks = slurm.look([place()])
        assert outlooks is not None
        assert outlooks[place()].settle_seconds == UNREADABLE_SECONDS
    assert caplog.text.count("squeue: passed over 2 lines that cannot be read") == 1
    command("squeue", "exit 0")
    outlooks = slurm.look([place()])
    assert outlooks is not None
    assert outlooks[place()].settle_seconds == REQUEUE_SECONDS


def test_a_name_with_a_lines_end_ends_no_job(slurm: Slurm, command: Command) -> None:
    command("squeue", r"printf '7|0|RUNNING|None|n1|n1|one-1234\n9|N/A|RUNNING|None|n1|n1|x\n7|0|CANCELLED|None|||y\n'")
    outlooks = slurm.look([place()])
    assert outlooks is not None
    assert not outlooks[place()].over


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.E2BIG, errno.ENOMEM])
def test_a_command_that_cannot_be_started_now_is_no_news(
    slurm: Slurm, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    def fork(*arguments: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("snakemake_executor_plugin_submitit.squeue.subprocess.run", fork)
    assert slurm.look([place()]) is None
    slurm.cancel([place()])
    assert f"squeue cannot be started: {os.strerror(number)}" in caplog.text
    assert f"scancel cannot be started: {os.strerror(number)}" in caplog.text


def test_twelve_thousand_jobs_fit_on_no_command_line_and_are_asked_for_in_batches(
    slurm: Slurm, command: Command, path: Path
) -> None:
    command("squeue", "exit 0")
    places = [place(f"123456789_{index}", index) for index in range(12_000)]
    outlooks = slurm.look(places)
    assert outlooks is not None
    assert len(outlooks) == 12_000
    slurm.cancel(places)
    for name in ("sacct", "scancel"):
        asked = calls(path, name)
        assert len(asked) == 24
        assert sum(line.count("123456789_") for line in asked) == 12_000
        assert max(map(len, asked)) < 2**15


def test_what_jobs_wait_for_is_told_whenever_it_is_something_else(
    slurm: Slurm, command: Command, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    places = [place("7_0"), place("7_1", 1), place("7_2", 2)]

    def look(first: str, second: str, third: str) -> None:
        command("squeue", f"echo '7|0|{first}|||x'; echo '7|1|{second}|||x'; echo '7|2|{third}|||x'")
        slurm.look(places)

    look("PENDING|None", "PENDING|None", "RUNNING|None")
    assert "Waiting" not in caplog.text
    look("PENDING|AssocGrpCpuLimit", "PENDING|AssocGrpCpuLimit", "PENDING|ReqNodeNotAvail, UnavailableNodes:n1")
    look("RUNNING|None", "PENDING|AssocGrpCpuLimit", "PENDING|ReqNodeNotAvail, UnavailableNodes:n1")
    look("PENDING|BeginTime", "RUNNING|None", "RUNNING|None")
    look("RUNNING|None", "RUNNING|None", "RUNNING|None")
    look("RUNNING|None", "RUNNING|None", "RUNNING|None")
    told = [record.message for record in caplog.records if "wait" in record.message.lower()]
    assert told == [
        "Waiting in Slurm's queue: 2 for a limit of its account or QOS (AssocGrpCpuLimit), 1 for nodes that are down "
        "or reserved (ReqNodeNotAvail, UnavailableNodes:n1)",
        "Waiting in Slurm's queue: 1 for the moment at which Slurm may begin it (BeginTime)",
        "Nothing waits in Slurm's queue any more.",
    ]


@pytest.mark.parametrize("said", [r"printf 'contr\xf4leur parti\n' >&2; exit 1", r"printf 'no\xe9 job\n'"])
def test_bytes_of_sbatch_are_no_error_and_a_failed_submission_leaves_no_file(
    slurm: Slurm, command: Command, path: Path, folder: Folder, said: str
) -> None:
    command("sbatch", said)
    with pytest.raises((Refusal, ValueError), match=r"contr.leur parti|told of no job; it said 'no. job'"):
        slurm.submit("one-1234", slurm.parameters({}), [print, print])
    assert list(folder.jobs.iterdir()) == []
    (call,) = calls(path, "scancel")
    assert call.endswith("--name=one-1234")


def test_files_of_a_submission_are_its_own(slurm: Slurm, command: Command, folder: Folder) -> None:
    command("sbatch", "echo Submitted batch job 7")
    assert slurm.submit("one-1", slurm.parameters({}), [print, print]) == ["7_0", "7_1"]
    # A cluster that was set up anew begins with the same ids.
    assert slurm.submit("one-2", slurm.parameters({}), [print]) == ["7"]
    names = {str(one.relative_to(folder.jobs)) for one in folder.jobs.rglob("*") if one.is_file()}
    assert names == {
        *("one-1/batch.sh", "one-1/7_0/7_0_submitted.pkl", "one-1/7_1/7_1_submitted.pkl"),
        *("one-2/batch.sh", "one-2/7/7_submitted.pkl"),
    }
    script = (folder.submission("one-1") / "batch.sh").read_text()
    assert f"#SBATCH --output={folder.root}/jobs/one-1/%A_%a/%A_%a_0_log.out" in script


def test_the_node_of_a_job_that_ended_without_a_word_is_told(slurm: Slurm, command: Command) -> None:
    command("squeue", "echo '7|0|NODE_FAIL|NodeDown|n[1-2]|n1|x'; echo '7|1|TIMEOUT|TimeLimit|n3|n3|x'")
    outlooks = slurm.look([place(), place("7_1", 1)])
    assert outlooks is not None
    assert [outlooks[one].suspects for one in (place(), place("7_1", 1))] == ["n[1-2]", ""]


def test_a_job_that_lost_its_batch_host_is_requeued(slurm: Slurm, command: Command, path: Path) -> None:
    command("squeue", "echo '7|0|RUNNING|None|n2|n1|x'; echo '7|1|RUNNING|None|n[3-4]|n3|x'")
    command("sinfo", "echo 'down*'")
    assert slurm.look([place(), place("7_1", 1)]) == {
        place(): Outlook(over=False, job_id="7_0"),
        place("7_1", 1): Outlook(over=False, job_id="7_1"),
    }
    assert calls(path, "sinfo") == ["sinfo --noheader --nodes=n1 --format=%T"]
    assert calls(path, "scontrol") == ["scontrol requeue 7_0"]
    assert not calls(path, "scancel")


def test_where_nobody_may_requeue_a_job_without_batch_host_is_cancelled(
    slurm: Slurm, command: Command, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    command("squeue", "echo '7|0|RUNNING|None|n2|n1|x'")
    command("sinfo", "echo down")
    command("scontrol", "echo 'Requested operation is presently disabled' >&2; exit 1")
    for _ in range(REQUEUES):
        slurm.look([place()])
    assert not calls(path, "scancel")
    assert "not requeued (Requested operation is presently disabled)" in caplog.text
    slurm.look([place()])
    assert calls(path, "scancel") == [f"scancel --user={os.getuid()} 7_0"]
    assert len(calls(path, "scontrol")) == REQUEUES


@pytest.mark.parametrize("said", ["echo idle", "echo 'mixed*'", "true", "echo down; exit 1"])
def test_a_batch_host_of_which_slurm_does_not_say_that_it_is_down_is_waited_for(
    slurm: Slurm, command: Command, path: Path, said: str
) -> None:
    """Slurm on front ends names one of those, which is never among a job's nodes."""
    command("squeue", "echo '7|0|RUNNING|None|n2|n1|x'")
    command("sinfo", said)
    slurm.look([place()])
    slurm.look([place()])
    assert not calls(path, "scontrol") + calls(path, "scancel")
