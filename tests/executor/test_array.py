"""The array backend: states, requeues, losses and cancellation, against a cluster that does as it is told."""

from __future__ import annotations

import logging
import shutil
import socket
from collections.abc import Iterator

import pytest

from snakemake_executor_plugin_submitit.array import ArrayBackend
from snakemake_executor_plugin_submitit.backend import Done, Lost, Running, Status
from snakemake_executor_plugin_submitit.child import write_state
from snakemake_executor_plugin_submitit.cluster import Outlook, Refusal, Refused
from snakemake_executor_plugin_submitit.folder import Folder
from snakemake_executor_plugin_submitit.journal import Journal
from tests.executor.conftest import Works
from tests.executor.fakes import FakeCluster
from tests.waiting import wait_until


@pytest.fixture
def cluster() -> FakeCluster:
    """A scheduler that takes everything."""
    return FakeCluster()


@pytest.fixture
def backend(cluster: FakeCluster, folder: Folder) -> Iterator[ArrayBackend]:
    """The backend under test."""
    one = ArrayBackend(cluster, folder, Journal(folder.journal), logging.getLogger("test"))
    yield one
    one.close()
    assert cluster.closed


@pytest.fixture
def submitted(backend: ArrayBackend, cluster: FakeCluster, work: Works) -> ArrayBackend:
    """The backend with works a and b, which run as 1_0 and 1_1."""
    backend.submit([work("a"), work("b")])
    # In the journal last, and then known to the backend: it is asked for its places by cancelling nobody.
    wait_until(lambda: all(entry.place for entry in backend._entries.values()))
    return backend


def poll(backend: ArrayBackend, key: str = "a") -> Status:
    return backend.poll([key])[key]


def test_a_state_file_is_the_end_whatever_the_scheduler_says(
    submitted: ArrayBackend, cluster: FakeCluster, folder: Folder, work: Works
) -> None:
    assert poll(submitted) == Running()
    cluster.outlooks["1_0"] = Outlook(True, "CANCELLED", hopeless=True)
    write_state(folder, work("a"), 3, "1_0", 1.5, "last words")
    assert poll(submitted) == Done(3, "1_0", socket.gethostname(), 1.5, "last words")
    assert poll(submitted, "b") == Running()


def test_the_state_of_another_attempt_is_not_this_ones(submitted: ArrayBackend, folder: Folder, work: Works) -> None:
    write_state(folder, work("a", attempt=2), 0, "9")
    assert poll(submitted) == Running()


def test_over_without_a_state_is_believed_when_it_has_settled(submitted: ArrayBackend, cluster: FakeCluster) -> None:
    cluster.outlooks["1_0"] = Outlook(True, "NODE_FAIL: a node failed", settle_seconds=0.2)
    assert poll(submitted) == Running()
    wait_until(lambda: poll_unless_lost(submitted, cluster))
    assert cluster.cancelled == []


def poll_unless_lost(backend: ArrayBackend, cluster: FakeCluster) -> bool:
    status = poll(backend)
    if status == Running():
        return False
    assert status == Lost("NODE_FAIL: a node failed", "1_0")
    return True


def test_a_requeued_job_starts_its_settling_again(
    submitted: ArrayBackend, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("snakemake_executor_plugin_submitit.array.time.monotonic", lambda: now[0])
    over = Outlook(True, "NODE_FAIL", settle_seconds=30)
    for now[0], outlook in [(0, over), (29, over), (31, Outlook(False)), (40, over), (69, over)]:
        cluster.outlooks["1_0"] = outlook
        assert poll(submitted) == Running()
    now[0] = 70
    assert isinstance(poll(submitted), Lost)


def test_a_silent_scheduler_changes_nothing(submitted: ArrayBackend, cluster: FakeCluster) -> None:
    cluster.outlooks["1_0"] = Outlook(True, "gone")
    cluster.silent = True
    assert poll(submitted) == Running()
    cluster.silent = False
    assert isinstance(poll(submitted), Lost)


def test_a_job_that_will_never_start_is_cancelled(submitted: ArrayBackend, cluster: FakeCluster) -> None:
    cluster.outlooks["1_1"] = Outlook(True, "PartitionTimeLimit", hopeless=True)
    assert poll(submitted, "b") == Lost("PartitionTimeLimit", "1_1", final=True)
    assert [place.job_id for place in cluster.cancelled] == ["1_1"]


def test_refusals_and_nonsense_are_final_losses(backend: ArrayBackend, cluster: FakeCluster, work: Works) -> None:
    cluster.refusals = [Refusal(Refused.FOREVER, "invalid account")]
    backend.submit([work("a"), work("b", nodes=0)])
    assert poll(backend, "b") == Lost("resource nodes=0: give one", final=True)
    wait_until(lambda: poll_is(backend, Lost("invalid account", final=True)))


def poll_is(backend: ArrayBackend, expected: Status) -> bool:
    status = poll(backend)
    assert status in (Running(), expected)
    return status == expected


def test_cancelling_reaches_what_waits_what_is_on_its_way_and_what_runs(
    backend: ArrayBackend, cluster: FakeCluster, work: Works
) -> None:
    backend.submit([work("runs")])
    wait_until(lambda: backend._entries["runs"].place)
    # Cancelled in the middle of its submission.
    cluster.on_submit = lambda tag: backend.cancel(["runs", "moves", "waits"])
    backend.submit([work("moves", mem=1), work("waits", mem=2)])
    wait_until(lambda: {place.job_id for place in cluster.cancelled} == {"1_0", "2_0"})
    assert poll(backend, "waits") == Lost("cancelled before it was submitted")
    assert len(cluster.submissions) == 2


def test_another_process_attaches_to_what_was_submitted(
    submitted: ArrayBackend, cluster: FakeCluster, folder: Folder, work: Works
) -> None:
    second = ArrayBackend(cluster, folder, Journal(folder.journal), logging.getLogger("test"))
    assert second.attach([work("a"), work("b", attempt=2), work("c")]) == {"a"}
    assert poll(second) == Running()
    write_state(folder, work("a"), 0, "1_0")
    assert isinstance(poll(second), Done)
    second.close()


def test_the_next_attempt_goes_to_another_node_if_there_is_one(
    submitted: ArrayBackend, cluster: FakeCluster, work: Works
) -> None:
    cluster.outlooks["1_0"] = Outlook(True, "NODE_FAIL", suspects="n1")
    assert poll(submitted) == Lost("NODE_FAIL", "1_0")
    submitted.submit([work("a", attempt=2)])
    wait_until(lambda: submitted._entries["a"].place)
    assert cluster.asked["exclude"] == "n1"
    # All is well there: the one after that goes anywhere.
    cluster.outlooks["2_0"] = Outlook(True, "CANCELLED")
    assert isinstance(poll(submitted), Lost)
    submitted.submit([work("a", attempt=3)])
    wait_until(lambda: submitted._entries["a"].place)
    assert "exclude" not in cluster.asked


def test_a_node_that_has_no_alternative_is_taken_again(
    submitted: ArrayBackend, cluster: FakeCluster, work: Works
) -> None:
    cluster.outlooks["1_0"] = Outlook(True, "NODE_FAIL", suspects="n1")
    assert isinstance(poll(submitted), Lost)
    cluster.refusals = [Refusal(Refused.FOREVER, "Requested node configuration is not available")]
    submitted.submit([work("a", attempt=2)])
    wait_until(lambda: submitted._entries["a"].place)
    assert "exclude" not in cluster.asked
    assert poll(submitted) == Running()


def test_a_job_whose_files_were_removed_is_told_so_and_was_no_try(
    folder: Folder, work: Works, cluster: FakeCluster
) -> None:
    cluster.folder = folder.jobs
    backend = ArrayBackend(cluster, folder, Journal(folder.journal), logging.getLogger("test"))
    backend.submit([work("a")])
    wait_until(lambda: backend._entries["a"].place)
    cluster.outlooks["1_0"] = Outlook(True, "FAILED")
    status = poll(backend)
    assert isinstance(status, Lost)
    assert status.vanished
    assert "have been removed" in status.why
    backend.close()


def test_a_state_file_that_says_nothing_is_no_end(
    submitted: ArrayBackend, cluster: FakeCluster, folder: Folder
) -> None:
    folder.state("a", 1).write_bytes(b"\xff{")
    assert poll(submitted) == Running()
    cluster.outlooks["1_0"] = Outlook(True, "COMPLETED")
    assert poll(submitted) == Lost(f"COMPLETED; its state file {folder.state('a', 1)} cannot be read", "1_0")


def test_a_state_folder_that_was_removed_is_made_again(
    submitted: ArrayBackend, folder: Folder, work: Works, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.rmtree(folder.states)
    assert poll(submitted) == Running()
    assert f"{folder.states}: removed while jobs are under way, and made again" in caplog.text
    write_state(folder, work("a"), 0, "1_0")
    assert isinstance(poll(submitted), Done)
