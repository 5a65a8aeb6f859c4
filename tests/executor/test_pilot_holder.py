"""What the main process makes of the ends of its allocations, with a scheduler of our own."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.backend import TRY_AGAIN, Done, Lost, Running, Status, Work
from snakemake_executor_plugin_submitit.folder import Folder
from snakemake_executor_plugin_submitit.journal import Journal
from snakemake_executor_plugin_submitit.pilot.holder import MOST_BARREN, Holder
from snakemake_executor_plugin_submitit.pilot.inbox import Job
from snakemake_executor_plugin_submitit.pilot.open_jobs import OpenJobs
from snakemake_executor_plugin_submitit.pilot.orders import Commander
from snakemake_executor_plugin_submitit.pilot.session import Ending, Session

TEMPLATE = Work(key="", rule="pilot", name="pilot", command="", cwd="/", resources={"slurm_extra": "--exclusive"})


class Log:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, message: str) -> None:
        self.lines.append(message)

    def warning(self, message: str) -> None:
        self.lines.append(message)


class Arrays:
    """A backend whose scheduler takes everything and then does what the test says."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.submitted: list[Work] = []
        self.cancelled: list[str] = []
        self.ends: dict[str, Status] = {}

    def attach(self, works: Sequence[Work]) -> set[str]:
        return {work.key for work in works}

    def submit(self, works: Sequence[Work]) -> None:
        for work in works:
            self.submitted.append(work)
            self._journal.begin(work.key, "slurm", [work])
            self._journal.submitted(work.key, [str(len(self.submitted))])

    def poll(self, keys: Collection[str]) -> Mapping[str, Status]:
        return {key: self.ends.get(key, Running()) for key in keys}

    def cancel(self, keys: Collection[str]) -> None:
        self.cancelled += keys

    def remaining(self, more_to_come: bool) -> None:
        raise AssertionError("not for allocations")

    def close(self) -> None:
        raise AssertionError("not the holder's to close")


class Site:
    """A session, its holder, and the scheduler between them."""

    def __init__(self, root: Path) -> None:
        self.folder = Folder(root)
        self.folder.make()
        self.session = Session(self.folder.pilot / "s")
        self.session.make()
        self.log = Log()
        self.start()

    def start(self, chain: bool = False) -> None:
        """Start anew, as a Snakemake process does."""
        self.journal = Journal(self.folder.journal)
        self.arrays = Arrays(self.journal)
        self.holder = Holder(self.session, self.arrays, self.journal, TEMPLATE, chain, self.log)

    def newest(self) -> str:
        return self.arrays.submitted[-1].key

    def agent_starts(self) -> None:
        self.session.own(f"{self.newest()}.life")

    def end(self, status: Status, ending: Ending | None = None) -> None:
        """The newest allocation ends."""
        if ending:
            self.session.end(f"{self.newest()}.life", ending)
        self.arrays.ends[self.newest()] = status
        self.holder.follow()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_one_allocation_is_held_until_it_ends(site: Site) -> None:
    site.holder.take()
    site.holder.follow()
    site.holder.take()
    assert len(site.arrays.submitted) == 1
    assert site.holder.holds

    site.end(Done(0))
    assert not site.holder.holds
    site.holder.take()
    assert len(site.arrays.submitted) == 2


def test_a_successor_follows_the_allocation_whose_agent_runs(site: Site) -> None:
    site.start(chain=True)
    site.holder.take()
    site.holder.take()
    assert len(site.arrays.submitted) == 1, "a successor of what has not started would only wait longer"
    site.agent_starts()
    site.holder.take()
    site.holder.take()
    assert [work.resources["slurm_extra"] for work in site.arrays.submitted] == [
        "--exclusive",
        "--exclusive --dependency=afterany:1",
    ]


def test_a_site_that_takes_no_successor_is_done_without_one(site: Site) -> None:
    site.start(chain=True)
    site.holder.take()
    site.agent_starts()
    site.holder.take()
    site.end(Lost("Slurm refuses the job: dependencies are not for you", final=True))
    assert site.holder.hopeless is None
    assert "dependencies are not for you" in site.log.lines[-1]
    site.holder.take()
    assert len(site.arrays.submitted) == 2


def test_what_slurm_refuses_for_ever_is_not_asked_for_again(site: Site) -> None:
    site.holder.take()
    site.end(Lost("Slurm refuses the job: invalid partition", final=True))
    assert site.holder.hopeless == "Slurm refuses the job: invalid partition"
    site.holder.take()
    assert len(site.arrays.submitted) == 1


def killed(site: Site) -> None:
    site.end(Lost("TIMEOUT: it ran into its time limit"))


def companion_fails(site: Site) -> None:
    site.end(Lost("FAILED: it ended"), Ending("companion", "no such fabric"))


@pytest.mark.parametrize(
    ("code", "end", "hopeless"),
    [
        (None, killed, True),
        (None, companion_fails, True),
        (0, killed, False),
        (0, companion_fails, False),
        (TRY_AGAIN, killed, False),
        (TRY_AGAIN, companion_fails, True),
    ],
)
def test_allocations_in_which_nothing_ends_are_given_up(
    site: Site, code: int | None, end: Callable[[Site], None], hopeless: bool
) -> None:
    for _ in range(MOST_BARREN):
        assert site.holder.hopeless is None
        site.holder.take()
        if code is not None:
            site.holder.note_end(code)
        end(site)
    assert (site.holder.hopeless is not None) == hopeless


def test_only_those_in_a_row_count(site: Site) -> None:
    for number in range(2 * MOST_BARREN):
        site.holder.take()
        if number % MOST_BARREN == 0:
            site.holder.note_end(0)
        killed(site)
    assert site.holder.hopeless is None


def test_what_was_given_back_says_nothing(site: Site) -> None:
    for _ in range(MOST_BARREN):
        site.holder.take()
        site.holder.give_back()
        site.holder.give_back()
        site.end(Lost("CANCELLED: it was cancelled (scancel)"))
    assert site.arrays.cancelled == [work.key for work in site.arrays.submitted]
    assert site.holder.hopeless is None


def test_an_agent_that_runs_is_left_to_end_by_its_orders(site: Site) -> None:
    site.holder.take()
    site.agent_starts()
    site.holder.give_back()
    assert not site.arrays.cancelled
    site.holder.give_back(with_agent=True)
    assert site.arrays.cancelled == [site.newest()]


def test_what_was_requeued_and_waits_again_is_given_back(site: Site) -> None:
    site.holder.take()
    site.agent_starts()
    site.session.end(f"{site.newest()}.life", Ending("killed"))
    site.holder.give_back()
    assert site.arrays.cancelled == [site.newest()]


def test_a_new_process_holds_what_the_old_one_held(site: Site) -> None:
    site.holder.take()
    site.end(Done(0))
    site.holder.take()
    held = site.newest()
    site.start()
    assert site.holder.holds
    site.holder.give_back()
    assert site.arrays.cancelled == [held]


class TestOpenJobs:
    """Open jobs, and when their allocation is held."""

    @pytest.fixture
    def jobs(self, site: Site) -> OpenJobs:
        orders = Commander(site.session, idle_seconds=1, log=site.log)
        return OpenJobs(site.session, site.folder, site.holder, orders, settle_seconds=0.0, log=site.log)

    def test_jobs_of_a_hopeless_session_are_lost_with_its_reason(self, site: Site, jobs: OpenJobs) -> None:
        jobs.submit([work("a"), work("b")])
        assert jobs.poll(["a", "b"]) == {"a": Running(), "b": Running()}
        site.arrays.ends[site.newest()] = Lost("no", final=True)
        jobs.poll(["a"])
        assert jobs.poll(["a", "b"]) == {"a": Lost("no", final=True), "b": Lost("no", final=True)}
        assert not site.session.inbox.content().jobs
        jobs.close()

    def test_an_end_that_no_agent_lived_to_note_counts(self, site: Site, jobs: OpenJobs) -> None:
        jobs.submit([work("a")])
        assert jobs.poll(["a"]) == {"a": Running()}
        site.folder.state("a", 1).write_text('{"rc": 0}')
        site.arrays.ends[site.newest()] = Lost("killed")
        assert jobs.poll(["a"]) == {"a": Done(0)}
        assert len(site.arrays.submitted) == 1
        jobs.close()

    def test_nothing_is_given_back_before_snakemake_has_decided_about_a_failure(
        self, site: Site, jobs: OpenJobs
    ) -> None:
        jobs.submit([work("a")])
        jobs.remaining(False)
        site.folder.state("a", 1).write_text('{"rc": 75}')
        site.session.inbox.fail(Job("a", 1))
        assert jobs.poll(["a"]) == {"a": Done(75)}
        assert not site.arrays.cancelled
        assert site.session.inbox.content().failed == {Job("a", 1)}
        jobs.poll([])
        assert site.arrays.cancelled == [site.newest()]
        assert not site.session.inbox.content().failed
        jobs.close()

    def test_a_cancelled_job_is_gone_when_its_agent_is(self, site: Site, jobs: OpenJobs) -> None:
        jobs.submit([work("a"), work("b")])
        jobs.cancel(["a"])
        assert jobs.poll(["a", "b"]) == {"a": Running(), "b": Running()}
        site.session.inbox.fail(Job("a", 1))
        assert jobs.poll(["a", "b"]) == {"a": Lost("cancelled"), "b": Running()}
        assert site.session.inbox.content().failed == {Job("a", 1)}, "its agent waits for what takes its place"
        jobs.poll(["b"])
        assert not site.session.inbox.content().failed
        jobs.close()

    def test_an_inbox_that_was_removed_is_filled_again_with_what_is_wanted(self, site: Site, jobs: OpenJobs) -> None:
        jobs.submit([work("a"), work("b"), work("c")])
        jobs.cancel(["c"])
        site.folder.state("b", 1).write_text('{"rc": 0}')
        shutil.rmtree(site.session.root)
        assert jobs.poll(["a", "b"]) == {"a": Running(), "b": Done(0)}
        assert site.session.inbox.content().jobs == {Job("a", 1)}
        jobs.close()

    def test_a_job_that_vanished_is_lost(self, site: Site, jobs: OpenJobs) -> None:
        jobs.submit([work("a")])
        site.session.inbox.remove(Job("a", 1))
        assert isinstance(jobs.poll(["a"])["a"], Lost)
        jobs.close()


def work(key: str) -> Work:
    return Work(key=key, rule="rule", name=key, command="true", cwd="/")
