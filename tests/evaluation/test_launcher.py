"""Where a step finds its workers: here, in its own allocation, or in a standing one."""

from __future__ import annotations

import gc
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.evaluation import launcher as launcher_module
from harmony_core.evaluation.launcher import PILOT_FOLDER, Launcher, pilot_folder
from harmony_core.search.opened import OpenedSearch
from harmony_core.workers import Outcome, Pool, Task, WarmPool, WorkInterrupted
from harmony_core.workers.address import ADDRESS_FILE, publish
from tests.workers.peers import Queue

Prepared = Callable[..., OpenedSearch]
SRUN = Launcher("srun", srun_flags=("--gpus-per-task=1",))


@pytest.fixture(autouse=True)
def no_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SLURM_JOB_ID", PILOT_FOLDER):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def broken_srun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An allocation whose srun never starts anything."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\necho 'srun: error: Invalid account' >&2\nexit 1\n")
    srun.chmod(0o755)
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "7")


def run(pool: Pool) -> list[Outcome]:
    outcomes: list[Outcome] = []
    pool.run([Task("a", "module:function", {})], outcomes.append, lambda task, attempt: None)
    return outcomes


def test_a_local_launch_forks_here(prepared: Prepared, tmp_path: Path) -> None:
    setting = prepared(execution={"workers": 3})
    with Launcher().training(setting, tmp_path, 0) as pool:
        assert isinstance(pool, WarmPool)
        assert pool.workers == 3
    with Launcher().measuring(setting, tmp_path, 0, "json") as pool:
        assert isinstance(pool, WarmPool)
        assert pool.workers == 1


def test_srun_outside_of_a_job_is_refused(prepared: Prepared, tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match="not inside a Slurm job"),
        SRUN.training(prepared(), tmp_path, 0),
    ):
        pass


@pytest.mark.usefixtures("broken_srun")
def test_an_srun_that_starts_nothing_is_an_error_and_no_interruption(prepared: Prepared, tmp_path: Path) -> None:
    with (
        pytest.raises(UserError, match=r"srun ended with 1; see .*teams/ranks\.log") as raised,
        SRUN.training(prepared(), tmp_path, 0) as pool,
    ):
        run(pool)
    assert raised.value.field == "launcher"
    assert "Invalid account" in (tmp_path / "teams" / "ranks.log").read_text()


@pytest.mark.usefixtures("broken_srun")
def test_an_interruption_of_sound_teams_stays_one(prepared: Prepared, tmp_path: Path) -> None:
    with pytest.raises(WorkInterrupted, match="elsewhere"), SRUN.training(prepared(), tmp_path, 0):
        raise WorkInterrupted("elsewhere")


class TestStanding:
    """In a standing allocation, whose companion holds the teams."""

    @pytest.fixture(autouse=True)
    def queue(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queue]:
        monkeypatch.setenv(PILOT_FOLDER, str(tmp_path))
        with Queue() as made:
            publish(made.address, tmp_path / ADDRESS_FILE)
            yield made

    def test_its_teams_are_fed(self, queue: Queue, prepared: Prepared, tmp_path: Path) -> None:
        rank = queue.rank()
        with SRUN.training(prepared(), tmp_path / "work", 3) as pool:

            def work() -> None:
                rank.end(rank.assignment(), result={"loss": 1.0})

            worker = threading.Thread(target=work)
            worker.start()
            assert [outcome.result for outcome in run(pool)] == [{"loss": 1.0}]
            worker.join()
        # Nothing was started beside it: no srun, no folder of its own.
        assert not (tmp_path / "work" / "teams").exists()

    def test_older_generations_come_first_and_promotion_last(
        self, queue: Queue, prepared: Prepared, tmp_path: Path
    ) -> None:
        setting = prepared(search={"generations": 9})
        orders = []
        for generation in (None, 7, 2):
            with SRUN.training(setting, tmp_path, generation) as pool:
                orders.append(pool._order)  # type: ignore[attr-defined]
        with SRUN._teams(setting, tmp_path, (2, 1), 1) as pool:
            orders.append(pool._order)  # type: ignore[attr-defined]
        assert sorted(orders) == [orders[2], orders[3], orders[1], orders[0]]

    @pytest.mark.parametrize(("lag", "orders"), [(0, [0, 1, 2, 3, 4]), (1, [0, 1, 2, 3, 3])])
    def test_generations_that_nobody_is_bred_from_are_one_pool(
        self, prepared: Prepared, tmp_path: Path, lag: int, orders: list[int]
    ) -> None:
        setting = prepared(search={"generations": 5, "lag": lag})
        found = []
        for generation in range(5):
            with SRUN.training(setting, tmp_path, generation) as pool:
                found.append(pool._order)  # type: ignore[attr-defined]
        assert found == [(order, 0) for order in orders]

    def test_it_leaves_nothing_open(self, prepared: Prepared, tmp_path: Path) -> None:
        setting = prepared()
        gc.collect()  # what earlier tests left is not this one's
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            with SRUN.training(setting, tmp_path, 0):
                pass
            gc.collect()
        assert [str(one.message) for one in said if issubclass(one.category, ResourceWarning)] == []

    def test_measuring_needs_devices_that_trainings_do_not_share(
        self, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launcher_module, "visible_gpus", list)
        with pytest.raises(UserError, match="share these CPUs"), SRUN.measuring(prepared(), tmp_path, 0, "json"):
            pass
        with pytest.raises(UserError, match=r"^evaluators: mad: trainings share these CPUs; use an allocation a shard"):
            SRUN.measuring(prepared(), tmp_path, 0, "json", evaluator="mad").__enter__()
        # What shares its device with trainings has no need of one.
        with SRUN.measuring(prepared(), tmp_path, 0, "json", alone=False) as pool:
            assert pool._order == (0, 1)  # type: ignore[attr-defined]
        monkeypatch.setattr(launcher_module, "visible_gpus", lambda: ["0"])
        with SRUN.measuring(prepared(), tmp_path, 0, "json") as pool:
            assert pool._order == (0, 1)  # type: ignore[attr-defined]

    def test_a_companion_that_is_not_there_interrupts(
        self, prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launcher_module, "_PILOT_SECONDS", 0.05)
        (tmp_path / ADDRESS_FILE).unlink()
        with pytest.raises(WorkInterrupted, match="has no queue"), SRUN.training(prepared(), tmp_path, 0):
            pass

    def test_a_companion_that_has_died_interrupts(self, queue: Queue, prepared: Prepared, tmp_path: Path) -> None:
        queue.stop()
        with pytest.raises(WorkInterrupted, match="does not answer"), SRUN.training(prepared(), tmp_path, 0) as pool:
            run(pool)

    def test_a_local_launch_does_not_use_it(self, prepared: Prepared, tmp_path: Path) -> None:
        assert Launcher().standing is None
        with Launcher().training(prepared(), tmp_path, 0) as pool:
            assert isinstance(pool, WarmPool)


def test_outside_of_a_standing_allocation_there_is_no_folder() -> None:
    with pytest.raises(UserError, match="cluster: pilot"):
        pilot_folder()
