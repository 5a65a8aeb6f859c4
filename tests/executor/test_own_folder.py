"""Nobody but its owner puts anything into the executor's folder, and nothing that another could have put there runs."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from snakemake_interface_common.exceptions import ApiError

from snakemake_executor_plugin_submitit import launch
from snakemake_executor_plugin_submitit.factory import make_folder
from snakemake_executor_plugin_submitit.folder import Folder, read_json, write_json
from snakemake_executor_plugin_submitit.journal import Journal
from snakemake_executor_plugin_submitit.local import Local
from snakemake_executor_plugin_submitit.pilot.inbox import Inbox, Job
from snakemake_executor_plugin_submitit.runner import Runner
from snakemake_executor_plugin_submitit.sbatch import Submission, write_pickle
from snakemake_executor_plugin_submitit.settings import ExecutorSettings
from snakemake_executor_plugin_submitit.shared_files import NotOurs
from tests.executor.conftest import Works
from tests.waiting import PATIENCE, wait_until

OTHER = 65534
"""Another user, who is in this one's group."""


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder of a group, under a umask that trusts it, as such groups have."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    # Not pytest's folder, which nobody else may enter.
    root = Path(tempfile.mkdtemp(prefix="shared-"))
    root.chmod(0o775)
    before = os.umask(0o002)
    yield root
    os.umask(before)
    shutil.rmtree(root)


def as_other(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a shell script as the other user."""
    return subprocess.run(
        ["sh", "-c", script, "sh", *map(str, arguments)],
        user=OTHER,
        group=os.getegid(),
        extra_groups=[],
        capture_output=True,
        text=True,
        check=False,
    )


class Evil:
    """Its pickle makes a file when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> object:
        return os.mkdir, (str(self.marker),)


def start_job(folder: Path, job_id: str) -> subprocess.CompletedProcess[str]:
    """Start what a job of Slurm starts."""
    return subprocess.run(
        [sys.executable, "-m", launch.__name__, str(folder)],
        env={**os.environ, "SUBMITIT_EXECUTOR": "slurm", "SLURM_JOB_ID": job_id},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )


def test_all_of_it_is_its_owners_alone_whatever_the_umask(shared: Path, work: Works) -> None:
    folder = Folder(shared / "submitit")
    folder.make()
    Journal(folder.journal).works([work()])
    cluster = Local(folder)
    (job_id,) = cluster.submit("one-1", cluster.parameters({}), [Runner(work(command="echo said"), folder)])
    wait_until(folder.state("target-content", 1).exists)
    wait_until(lambda: not cluster._lives(job_id))
    assert stat.S_IMODE(folder.root.stat().st_mode) == 0o700
    pickles = list(folder.root.rglob("*.pkl"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in pickles] == [0o600]
    for path in (folder.root, folder.states, folder.jobs, folder.logs):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert as_other('ls "$1"', folder.root).returncode != 0


def test_a_queued_pickle_cannot_be_swapped(shared: Path, work: Works) -> None:
    folder = Folder(shared / "submitit")
    folder.make()
    with Submission(folder, "one-1") as submission:
        write_pickle(submission.root / "0.pkl", Runner(work(), folder))
        submission.hand_over(submission.root / "0.pkl", "7")
    path = folder.submission("one-1") / "7" / "7_submitted.pkl"
    before = path.read_bytes()
    for attempt in ('echo evil > "$1"', 'mv "$1" "$1.old"', 'rm "$1"', 'ln -sf /tmp/evil "$1"'):
        done = as_other(attempt, path)
        assert done.returncode != 0
        assert "ermission denied" in done.stderr
    assert path.read_bytes() == before


def test_a_folder_that_another_put_in_its_place_is_refused_on_the_node(shared: Path) -> None:
    """Whoever may write where the folder is may move it away, and have one of their own there."""
    folder = Folder(shared / "submitit")
    folder.make()
    evil, marker = shared / "evil.pkl", shared / "ran"
    evil.write_bytes(pickle.dumps(Evil(marker)))
    evil.chmod(0o644)
    done = as_other(
        'cd "$1" && mv submitit mine && mkdir -p submitit/jobs/one-1/7 && chmod 700 submitit && '
        "cp evil.pkl submitit/jobs/one-1/7/7_submitted.pkl",
        shared,
    )
    assert done.returncode == 0, done.stderr
    job = start_job(folder.submitit("one-1"), "7")
    assert job.returncode == 1
    assert f"not run: {folder.root}: belongs to user {OTHER}, and this is user 0" in job.stderr
    assert "Traceback" not in job.stderr
    assert not marker.exists()
    with pytest.raises(ApiError, match=f"--submitit-folder {folder.root}: belongs to user {OTHER}"):
        make_folder(ExecutorSettings(folder=str(folder.root)))


@pytest.mark.parametrize("fault", ["owner", "mode"])
def test_a_pickle_that_another_can_have_written_is_not_opened(folder: Folder, tmp_path: Path, fault: str) -> None:
    place = folder.submission("one-1") / "7"
    place.mkdir(parents=True)
    path, marker = place / "7_submitted.pkl", tmp_path / "ran"
    path.write_bytes(pickle.dumps(Evil(marker)))
    if fault == "mode":
        path.chmod(0o664)
    elif os.geteuid() == 0:
        os.chown(path, OTHER, -1)
    else:
        pytest.skip("only root can give a file away")
    job = start_job(folder.submitit("one-1"), "7")
    assert job.returncode == 1
    assert f"not run: {path}: " in job.stderr.splitlines()[-1]
    assert not marker.exists()


def test_a_command_of_the_inbox_that_another_can_have_written_is_not_run(tmp_path: Path, work: Works) -> None:
    inbox = Inbox(tmp_path)
    inbox.hand_over([work("a")])
    assert [one.key for one in inbox.read([Job("a", 1)])] == ["a"]
    (tmp_path / "a.1.json").chmod(0o666)
    with pytest.raises(NotOurs, match="others may write to it"):
        inbox.read([Job("a", 1)])


def test_a_runner_in_a_folder_that_others_may_enter_runs_nothing(folder: Folder, work: Works, tmp_path: Path) -> None:
    folder.root.chmod(0o770)
    with pytest.raises(NotOurs, match="others may enter it"):
        Runner(work(command="touch ran"), folder).run()
    assert not (tmp_path / "ran").exists()


def test_a_folder_of_an_earlier_version_is_closed(tmp_path: Path) -> None:
    for name in ("state", "logs", "jobs"):
        (tmp_path / "submitit" / name).mkdir(parents=True)
    (tmp_path / "submitit").chmod(0o775)
    Folder(tmp_path / "submitit").make()
    assert stat.S_IMODE((tmp_path / "submitit").stat().st_mode) == 0o700


def test_a_folder_with_other_things_in_it_is_not_closed_but_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "results").mkdir()
    with pytest.raises(ApiError, match=r"others may enter it .mode 0755.*or name another with --submitit-folder"):
        make_folder(ExecutorSettings(folder=str(tmp_path)))
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        write_json(tmp_path / "a.json", {"a": 1})
    finally:
        os.umask(before)
    assert read_json(tmp_path / "a.json") == {"a": 1}
