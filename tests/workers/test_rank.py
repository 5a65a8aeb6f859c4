"""Ranks as real processes: whatever dies, is stopped or told to leave, no task is lost and no child outlives it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harmony_core.errors import UserError
from harmony_core.host import free_port
from harmony_core.workers import WorkInterrupted
from harmony_core.workers import rank as rank_module
from harmony_core.workers.address import ADDRESS_FILE, Address, publish
from harmony_core.workers.rank import Place, Worker
from harmony_core.workers.wire import Line
from tests.waiting import PATIENCE, is_gone, wait_until
from tests.workers.allocation import ROOT, Allocation, Feeding, allocation, child_of, task


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Allocation]:
    """Two ranks that the tests leave as they found them."""
    with allocation(tmp_path_factory.mktemp("pair"), 2) as made:
        yield made


class TestWork:
    def test_a_child_has_its_world_and_its_log(self, pair: Allocation, tmp_path: Path) -> None:
        (outcome,) = Feeding(pair.address, tmp_path, [task(tmp_path, "a")]).end()
        assert outcome.result is not None
        world = outcome.result["world"]
        assert (world["RANK"], world["WORLD_SIZE"], world["LOCAL_RANK"]) == ("0", "1", "0")
        assert int(world["MASTER_PORT"]) > 0
        assert (tmp_path / "logs" / "a.log").read_text() == "log of 1\n"

    def test_every_task_once_over_both_ranks(self, pair: Allocation, tmp_path: Path) -> None:
        gates = [task(tmp_path, f"gate{number}", "hold", expected_seconds=9.0) for number in range(2)]
        many = [task(tmp_path, f"t{number}") for number in range(10)]
        feeding = Feeding(pair.address, tmp_path, [*gates, *many])
        # Both at once: each rank has one.
        for one in gates:
            child_of(tmp_path, one.key)
        for one in gates:
            Path(one.payload["gate"]).touch()
        outcomes = feeding.end()
        assert sorted(outcome.task.key for outcome in outcomes) == sorted(one.key for one in [*gates, *many])
        assert all(outcome.final and outcome.result for outcome in outcomes)

    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
    def test_a_child_that_is_killed_costs_one_attempt(
        self, pair: Allocation, tmp_path: Path, number: signal.Signals
    ) -> None:
        one = task(tmp_path, "a", "hold")
        feeding = Feeding(pair.address, tmp_path, [one])
        child = child_of(tmp_path, "a")
        child.send_signal(number)
        wait_until(lambda: is_gone(child), "the child to die")
        Path(one.payload["gate"]).touch()
        died, answered = feeding.end()
        assert (died.error or "").startswith(f"killed by signal {number.value}")
        assert (died.counts, died.final) == (True, False)
        assert answered.result == {"attempt": 2}

    def test_a_users_mistake_in_a_child(self, pair: Allocation, tmp_path: Path) -> None:
        with pytest.raises(UserError, match="make room"):
            Feeding(pair.address, tmp_path, [task(tmp_path, "a", "complain")]).end()

    def test_the_forkservers_death_is_forgiven(self, pair: Allocation, tmp_path: Path) -> None:
        one = task(tmp_path, "a", "hold")
        feeding = Feeding(pair.address, tmp_path, [one], attempts=1)
        child = child_of(tmp_path, "a")
        child.parent().kill()
        wait_until(lambda: is_gone(child), "the child of a dead forkserver to end")
        Path(one.payload["gate"]).touch()
        died, answered = feeding.end()
        assert (died.error, died.counts) == ("the worker that forked it died", False)
        assert answered.result == {"attempt": 1}

    def test_work_of_a_feeder_that_was_killed_is_ended(self, pair: Allocation, tmp_path: Path) -> None:
        code = (
            "import sys; from pathlib import Path; from harmony_core.workers.address import Address\n"
            "from tests.workers.allocation import Feeding, task\n"
            "folder = Path(sys.argv[2]); tasks = [task(folder, key, 'hold') for key in 'abc']\n"
            "Feeding(Address.read(Path(sys.argv[1])), folder, tasks).end()"
        )
        arguments = [sys.executable, "-c", code, str(pair.folder / ADDRESS_FILE), str(tmp_path)]
        feeder = subprocess.Popen(arguments, cwd=ROOT)
        children = [child_of(tmp_path, key) for key in "ab"]
        feeder.kill()
        feeder.wait(PATIENCE)
        for child in children:
            wait_until(lambda child=child: is_gone(child), "a child that nobody wants to end")
        assert not (tmp_path / "c.0").exists()
        # Both ranks are free again.
        assert Feeding(pair.address, tmp_path, [task(tmp_path, "next")]).end()[0].result


class TestRanksDeath:
    def test_another_rank_takes_over_and_nothing_of_the_dead_one_lives_on(self, tmp_path: Path) -> None:
        with allocation(tmp_path, 1) as made:
            one = task(tmp_path, "a", "hold")
            feeding = Feeding(made.address, tmp_path, [one])
            child = child_of(tmp_path, "a")
            made.ranks[0].kill()
            wait_until(lambda: is_gone(child), "the child of a dead rank to end")
            Path(one.payload["gate"]).touch()
            made.start_rank()
            died, answered = feeding.end()
            assert "is gone" in (died.error or "")
            assert answered.result == {"attempt": 2}

    def test_a_stopped_rank_is_given_up_and_comes_back_as_another(self, tmp_path: Path) -> None:
        with allocation(tmp_path, 1, silence_seconds=2.0) as made:
            one = task(tmp_path, "a", "hold")
            feeding = Feeding(made.address, tmp_path, [one])
            child = child_of(tmp_path, "a")
            os.kill(made.ranks[0].pid, signal.SIGSTOP)
            wait_until(lambda: made.server.num_ranks == 0, "a stopped rank to be given up")
            assert not is_gone(child)
            os.kill(made.ranks[0].pid, signal.SIGCONT)
            # What it worked on is not its own any more.
            wait_until(lambda: is_gone(child), "the child of a rank that was given up to end")
            Path(one.payload["gate"]).touch()
            died, answered = feeding.end()
            assert "no sign of life" in (died.error or "")
            assert answered.result == {"attempt": 2}
            assert made.server.num_joined == 2

    def test_imports_may_take_longer_than_silence_and_their_process_may_die(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        importing = tmp_path / "importing"
        (tmp_path / "slow_preload.py").write_text(
            "import os, pathlib, time\n"
            f"path = pathlib.Path({str(importing)!r})\n"
            "path.exists() or path.write_text(str(os.getpid())); time.sleep(3)\n"
        )
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        with allocation(tmp_path, 0, silence_seconds=2.0, preload="slow_preload") as made:
            made.start_rank()
            wait_until(lambda: importing.exists() and importing.read_text(), "the imports to begin")
            os.kill(int(importing.read_text()), signal.SIGKILL)
            wait_until(lambda: made.server.num_ranks == 1, "the rank to join")
            (outcome,) = Feeding(made.address, tmp_path, [task(tmp_path, "a")], attempts=1).end()
            assert outcome.result is not None
            assert made.server.num_joined == 1


def test_a_clock_that_is_off_is_told_to_the_shard_and_decides_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clock = time.time
    monkeypatch.setattr(time, "time", lambda: clock() + 1000.0)
    with allocation(tmp_path, 1) as made:
        for name in ("a", "b"):
            (outcome,) = Feeding(made.address, tmp_path, [task(tmp_path, name)]).end()
            assert outcome.result is not None
            assert "warning: the clock of n0 is at least 1000 s off that of the batch node" in capfd.readouterr().err


class TestSignals:
    """Slurm's signals go to every process of a step: rank, forkserver and children."""

    def test_what_ends_in_time_is_not_disturbed(self, tmp_path: Path) -> None:
        with allocation(tmp_path, 1, seconds_left=lambda: 1000.0) as made:
            one = task(tmp_path, "a", "hold")
            feeding = Feeding(made.address, tmp_path, [one, task(tmp_path, "b")])
            child_of(tmp_path, "a")
            made.signal_step(signal.SIGUSR2)
            wait_until(lambda: made.server._dispatcher._queue.draining, "the signal to be passed on")
            Path(one.payload["gate"]).touch()
            with pytest.raises(WorkInterrupted):
                feeding.end()
            (outcome,) = feeding.outcomes
            assert outcome.result == {"attempt": 1}
            assert made.server.drained.wait(PATIENCE)

    def test_a_child_that_is_asked_in_time_writes_its_checkpoint(self, tmp_path: Path) -> None:
        # With what is kept for the last, half a second is left.
        with allocation(tmp_path, 1, seconds_left=lambda: rank_module._LAST_SECONDS + 0.5) as made:
            feeding = Feeding(made.address, tmp_path, [task(tmp_path, "a", "checkpoint")], attempts=1)
            child = child_of(tmp_path, "a")
            made.signal_step(signal.SIGUSR2)
            wait_until(lambda: made.server._dispatcher._queue.draining, "the signal to be passed on")
            # A later word does not move the end away.
            made.server.drain(1000.0)
            self._expect_interruption(feeding)
            assert int((tmp_path / "a.0.checkpoint").read_text()) == child.pid

    @pytest.mark.parametrize("function", ["hold", "checkpoint"])
    def test_a_step_that_is_terminated_costs_no_attempt(self, tmp_path: Path, function: str) -> None:
        with allocation(tmp_path, 1, seconds_left=lambda: 1000.0) as made:
            feeding = Feeding(made.address, tmp_path, [task(tmp_path, "a", function)], attempts=1)
            child_of(tmp_path, "a")
            made.signal_step(signal.SIGTERM)
            self._expect_interruption(feeding)
            assert (tmp_path / "a.0.checkpoint").exists() == (function == "checkpoint")

    def test_a_child_that_does_not_listen_is_killed(self, tmp_path: Path) -> None:
        with allocation(tmp_path, 1) as made:
            feeding = Feeding(made.address, tmp_path, [task(tmp_path, "a", "stubborn")], attempts=1)
            wait_until((tmp_path / "a").exists, "the child to begin")
            began = time.monotonic()
            made.server.drain(0.0)
            self._expect_interruption(feeding)
            assert time.monotonic() - began < rank_module._LAST_SECONDS

    def test_a_whole_team_gets_its_time_to_write(self, tmp_path: Path) -> None:
        with allocation(tmp_path, 2, team_size=2) as made:
            slow = task(tmp_path, "a", "checkpoint", writing_seconds={"0": 1.0})
            feeding = Feeding(made.address, tmp_path, [slow], attempts=1)
            for rank in range(2):
                child_of(tmp_path, "a", rank)
            made.server.drain(0.0)
            self._expect_interruption(feeding)
            assert [(tmp_path / f"a.{rank}.checkpoint").exists() for rank in range(2)] == [True, True]

    def test_the_last_quarter_is_for_checkpoints(self) -> None:
        """A model of gigabytes is not written in seconds, so more notice is more time to write in."""
        settings = {"preload": "json", "threads": 1, "beat_seconds": 1.0}
        with own_signals(), socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
            line = Line.connect([("127.0.0.1", port)], PATIENCE)
            worker = Worker(Address(("127.0.0.1",), port, "token", settings), Place("n0", 0, 0))
            began = time.monotonic()
            with worker._notices._ours, worker._notices._theirs:
                worker._obey({"type": "drain", "seconds": 400.0}, line)
                quarter = worker._give_up - began
                # A task that says what it needs is told when that is left, with the last seconds beside it.
                worker._give_up, worker._leaving = float("inf"), 20.0
                worker._obey({"type": "drain", "seconds": 400.0}, line)
            line.close()
        assert quarter == pytest.approx(300.0, abs=1.0)
        assert worker._give_up - began == pytest.approx(365.0, abs=1.0)
        assert worker._end - began == pytest.approx(400.0, abs=1.0)

    @staticmethod
    def _expect_interruption(feeding: Feeding) -> None:
        with pytest.raises(WorkInterrupted, match="the allocation ends"):
            feeding.end()
        (outcome,) = feeding.outcomes
        assert (outcome.error, outcome.counts, outcome.final) == ("interrupted", False, False)


class TestQueuesEnd:
    def test_a_rank_leaves_when_told_and_ends_its_child(self, tmp_path: Path) -> None:
        with allocation(tmp_path, 1) as made:
            feeding = Feeding(made.address, tmp_path, [task(tmp_path, "a", "hold")])
            child = child_of(tmp_path, "a")
        assert made.ranks[0].returncode == 0
        assert is_gone(child)
        with pytest.raises(WorkInterrupted):
            feeding.end()

    def test_a_queue_that_is_gone_is_not_waited_for_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rank_module, "_RECONNECT_SECONDS", 0.1)
        with own_signals(), socket.create_server(("127.0.0.1", 0)) as nobody:
            settings = {"preload": "json", "threads": 1, "beat_seconds": 1.0}
            worker = Worker(Address(("127.0.0.1",), nobody.getsockname()[1], "token", settings), Place("n0", 0, 0))
            monkeypatch.setattr(worker._children, "wait_until_warm", lambda: None)
            nobody.close()
            with worker._notices._ours, worker._notices._theirs, pytest.raises(ConnectionError):
                worker.serve()

    def test_a_port_that_connects_with_itself_is_no_queue(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As the kernel does it once in a while, when nobody listens on a port of the range that it chooses from."""
        connect = socket.create_connection
        monkeypatch.setattr(socket, "create_connection", lambda to, timeout: connect(to, timeout, source_address=to))
        with pytest.raises(ConnectionError, match="nobody but this process answers there"):
            Address(("127.0.0.1",), free_port(), "token").connect({"role": "rank"})

    def test_another_program_on_the_port_is_no_queue(self) -> None:
        def echo() -> None:
            connection = listener.accept()[0]
            with connection:
                connection.sendall(connection.recv(4096))

        with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as pool:
            pool.submit(echo)
            with pytest.raises(ConnectionError, match="is no queue"):
                Address(("127.0.0.1",), listener.getsockname()[1], "token").connect({"role": "rank"})

    def test_a_rank_with_nothing_to_do_is_quiet_however_late_it_is(self, tmp_path: Path) -> None:
        settings = {"preload": "json", "threads": 1, "beat_seconds": 0.5}
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(PATIENCE)
            publish(Address(("127.0.0.1",), listener.getsockname()[1], "token", settings), tmp_path / ADDRESS_FILE)
            rank = subprocess.Popen(
                [sys.executable, "-m", "harmony_core.workers", str(tmp_path / ADDRESS_FILE)], cwd=ROOT
            )
            try:
                line = Line(listener.accept()[0])
                line.send({"type": "welcome", "time": time.time()})
                line.send({"type": "drain", "seconds": 0.0})
                kinds = [line.receive(PATIENCE)["type"] for _ in range(2)]
                until, beats = time.monotonic() + 2.0, 0
                while time.monotonic() < until:
                    beats += line.receive(PATIENCE)["type"] == "beat"
                line.send({"type": "bye"})
                assert rank.wait(PATIENCE) == 0
                line.close()
            finally:
                rank.kill()
                rank.wait(PATIENCE)
        assert kinds == ["hello", "beat"]
        assert 1 <= beats <= 6


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Puts back what a `Worker` in this process takes."""
    before: dict[int, Callable[..., object] | int | None] = {one: signal.getsignal(one) for one in rank_module._NOTICES}
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.slow
def test_a_team_is_a_world_and_survives_a_death_in_mid_collective(tmp_path: Path) -> None:
    with allocation(tmp_path, 2, team_size=2, preload="torch.distributed") as made:
        tasks = [task(tmp_path, "sound", "all_reduce", deaths=0), task(tmp_path, "mortal", "all_reduce", deaths=1)]
        outcomes = Feeding(made.address, tmp_path, tasks).end()
        results = {outcome.task.key: outcome.result for outcome in outcomes if outcome.final}
        assert results == {"sound": {"total": 3, "attempt": 1}, "mortal": {"total": 3, "attempt": 2}}
        # The death, or what the survivor says of it: whoever is heard first.
        (died,) = [outcome for outcome in outcomes if not outcome.final]
        assert died.counts
        assert died.error
        assert died.device_seconds > 0
