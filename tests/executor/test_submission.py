"""The submitting thread against a scheduler with moods."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.backend import Work
from snakemake_executor_plugin_submitit.cluster import Refusal, Refused
from snakemake_executor_plugin_submitit.journal import Journal
from snakemake_executor_plugin_submitit.submission import MOST_TRIES, Batch, Submitter, batches
from tests.executor.conftest import Works
from tests.executor.fakes import FakeCluster
from tests.waiting import wait_until


class Heard:
    """What a submitter has called back."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.refused: dict[str, str] = {}

    def submit(self, works: Sequence[Work]) -> None:
        self.submitted += [work.key for work in works]

    def refuse(self, works: Sequence[Work], why: str) -> None:
        self.refused |= {work.key: why for work in works}


@pytest.fixture
def heard() -> Heard:
    """Callbacks."""
    return Heard()


@pytest.fixture
def submitter(heard: Heard, cluster: FakeCluster, tmp_path: Path) -> Iterator[Submitter]:
    """A submitter that is not patient."""
    journal = Journal(tmp_path / "journal.jsonl")
    log = logging.getLogger("test")
    one = Submitter(cluster, lambda work: lambda: work.key, journal, log, heard.submit, heard.refuse, 0.02)
    yield one
    one.close()


@pytest.fixture
def cluster() -> FakeCluster:
    """A scheduler that takes everything."""
    return FakeCluster()


@pytest.fixture
def add(submitter: Submitter, work: Works) -> Callable[..., None]:
    """Add a batch of so many works."""
    return lambda number: submitter.add([Batch({}, [work(f"k{index}") for index in range(number)])])


def keys(number: int) -> list[str]:
    return [f"k{index}" for index in range(number)]


def test_a_batch_is_one_submission(add: Callable[[int], None], heard: Heard, cluster: FakeCluster) -> None:
    add(200)
    wait_until(lambda: heard.submitted == keys(200))
    assert [len(one) for one in cluster.submissions.values()] == [200]


def test_arrays_are_no_larger_than_the_cluster_takes(
    add: Callable[[int], None], heard: Heard, cluster: FakeCluster
) -> None:
    cluster.largest_array = 4
    add(10)
    wait_until(lambda: heard.submitted == keys(10))
    assert [len(one) for one in cluster.submissions.values()] == [4, 4, 2]


def test_a_scheduler_that_is_away_is_waited_for(
    add: Callable[[int], None], heard: Heard, cluster: FakeCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.refusals = [Refusal(Refused.NOW, "unable to contact slurm controller")] * 3
    add(2)
    wait_until(lambda: heard.submitted == keys(2))
    assert caplog.text.count("unable to contact slurm controller") == 1


def test_words_that_may_be_in_vain_are_tried_a_few_times(
    add: Callable[[int], None],
    heard: Heard,
    cluster: FakeCluster,
    submitter: Submitter,
    work: Works,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("snakemake_executor_plugin_submitit.submission.LONGEST_PAUSE_SECONDS", 0.04)
    doubt = Refusal(Refused.NOW, "Unexpected message received", doubtful=True)
    stale = OSError(errno.ESTALE, "Stale file handle")
    cluster.refusals = [doubt, stale, BlockingIOError(errno.EAGAIN, "no process to be had")] * (MOST_TRIES // 3)
    add(1)
    wait_until(lambda: heard.submitted == ["k0"])
    cluster.refusals = [doubt] * MOST_TRIES
    submitter.add([Batch({}, [work("a")]), Batch({}, [work("b")])])
    wait_until(lambda: heard.submitted == ["k0", "b"])
    assert heard.refused == {"a": f"fake took it in none of {MOST_TRIES} tries: Unexpected message received"}


def test_a_full_queue_is_filled_by_fewer_at_once(
    add: Callable[[int], None], heard: Heard, cluster: FakeCluster
) -> None:
    cluster.room = 5
    add(12)
    wait_until(lambda: len(heard.submitted) == 5)
    assert heard.refused == {}
    cluster.room = 100
    wait_until(lambda: heard.submitted == keys(12))


def test_what_is_refused_for_ever_does_not_hold_up_the_rest(
    submitter: Submitter, heard: Heard, cluster: FakeCluster, work: Works
) -> None:
    cluster.refusals = [Refusal(Refused.FOREVER, "no such partition"), OSError(28, "No space left on device")]
    submitter.add([Batch({}, [work("a"), work("b")]), Batch({}, [work("c")]), Batch({}, [work("d")])])
    wait_until(lambda: heard.submitted == ["d"])
    assert heard.refused["a"] == heard.refused["b"] == "no such partition"
    assert "No space left on device" in heard.refused["c"]


def test_what_the_journal_does_not_take_does_not_run_on_unknown(
    add: Callable[[int], None], heard: Heard, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def submitted(self: Journal, tag: str, ids: list[str]) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Journal, "submitted", submitted)
    add(2)
    wait_until(lambda: heard.refused.keys() == {"k0", "k1"})
    assert "No space left on device" in heard.refused["k0"]
    assert [place.job_id for place in cluster.cancelled] == ["1_0", "1_1"]


def test_what_waits_can_be_withdrawn(submitter: Submitter, heard: Heard, cluster: FakeCluster, work: Works) -> None:
    cluster.room = 0
    submitter.add([Batch({}, [work("a"), work("b")]), Batch({}, [work("c")])])
    wait_until(lambda: submitter.withdraw(["b", "c"]) == {"b", "c"} or not submitter.withdraw(["b"]))
    cluster.room = 10
    wait_until(lambda: "a" in heard.submitted)
    submitter.close()
    assert heard.submitted == ["a"]


def test_every_submission_has_a_name_of_its_own_in_the_journal_before_it_is_made(
    add: Callable[[int], None], heard: Heard, cluster: FakeCluster, work: Works, tmp_path: Path
) -> None:
    seen = []
    cluster.on_submit = lambda tag: seen.append(Journal(tmp_path / "journal.jsonl").place("k0", 1))
    add(1)
    wait_until(lambda: heard.submitted == ["k0"])
    (place,) = seen
    assert place is not None
    assert place.tag in cluster.submissions
    assert place.tag.startswith("one-")
    assert place.job_id is None
    after = Journal(tmp_path / "journal.jsonl").place("k0", 1)
    assert after is not None
    assert after.job_id == "1_0"


def test_works_of_equal_parameters_go_together(work: Works) -> None:
    large, small = {"mem": 2}, {"mem": 1}
    grouped = batches([(work("a"), large), (work("b"), small), (work("c"), dict(large))])
    assert [[one.key for one in batch.works] for batch in grouped] == [["a", "c"], ["b"]]
