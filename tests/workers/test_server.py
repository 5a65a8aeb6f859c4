"""The queue as its peers see it: who may come in, who gets what, and that no silence or nonsense holds it up."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

import psutil
import pytest

from harmony_core.workers import server as server_module
from harmony_core.workers.address import Address
from harmony_core.workers.wire import UNACKNOWLEDGED_SECONDS, Disconnected, pack
from tests.waiting import PATIENCE, SOON, wait_until
from tests.workers.allocation import ROOT
from tests.workers.peers import FakeRank, Queue, hear, is_cut

Start = Callable[..., Queue]


@pytest.fixture
def start() -> Iterator[Start]:
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Queue(**options))


@pytest.fixture(autouse=True)
def short_goodbye(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "_GOODBYE_SECONDS", 0.3)


class TestWhoComesIn:
    @pytest.mark.parametrize("token", ["", "0" * 64, "ü" * 64, None, ["list"]])
    def test_a_wrong_token_is_refused(self, start: Start, token: object) -> None:
        queue = start()
        with pytest.raises(ConnectionError):
            Address(queue.address.hosts, queue.address.port, token).connect({"role": "feeder", "order": [0]})  # type: ignore[arg-type]
        assert queue.server.num_joined == 0

    @pytest.mark.parametrize(
        "greeting",
        [
            struct.pack(">I", 2**31) + b"x" * 8192,
            struct.pack(">I", 4) + b"GET ",
            struct.pack(">I", 4000) + b"[" * 4000,
            pack({"type": "hello"}),
            pack({"type": "hello", "pad": "x" * 5000}),
            b"\0\0",
        ],
        ids=["giant", "not JSON", "nested too deep", "no token", "too long", "cut short"],
    )
    def test_nonsense_is_cut_off_and_harms_nobody(self, start: Start, greeting: bytes) -> None:
        queue = start()
        with queue.stranger() as stranger:
            stranger.sendall(greeting)
            if len(greeting) < 4:
                stranger.shutdown(socket.SHUT_WR)
            # A reset where something that it had said was not read.
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        queue.feeder("a")
        rank = queue.rank()
        assert rank.assignment()["task"]["key"] == "a"
        assert queue.server.num_ranks == 1

    def test_a_host_that_is_lost_is_noticed_in_a_minute(self, start: Start) -> None:
        """It does not close its connections; the kernel would try for a quarter of an hour."""
        rank = start().rank()
        seconds = rank.line._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
        assert seconds == UNACKNOWLEDGED_SECONDS <= 60

    def test_who_says_nothing_is_cut_off(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "_GREETING_SECONDS", 0.1)
        queue = start()
        with queue.stranger() as stranger:
            assert stranger.recv(1) == b""

    def test_more_may_connect_than_files_are_open_at_first(self) -> None:
        # In a process of its own, whose limit is low; what may be reached is this machine's.
        code = (
            "import resource; _, most = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
            "resource.setrlimit(resource.RLIMIT_NOFILE, (64, most))\n"
            "from tests.workers.peers import Queue\n"
            "with Queue() as queue: print(len({queue.rank() for _ in range(100)}), queue.server.num_joined)"
        )
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 300
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
        assert done.stdout == "100 100\n", done.stderr


class TestWhoRunsWhat:
    def test_a_task_goes_to_a_rank_and_its_answer_back(self, start: Start) -> None:
        queue = start(settings={"preload": "json"})
        assert queue.address.settings == {"preload": "json"}
        feeder, rank = queue.feeder("a"), queue.rank()
        order = rank.assignment()
        assert (order["task"]["key"], order["attempt"], order["world"]["size"]) == ("a", 1, 1)
        assert hear(feeder.line, "begun") == {"type": "begun", "key": "a", "attempt": 1}
        rank.end(order, result={"loss": 1.5}, seconds=2.0)
        ended = hear(feeder.line, "ended")
        assert (ended["report"]["result"], ended["final"], ended["device_seconds"]) == ({"loss": 1.5}, True, 2.0)

    def test_feeders_come_and_go_and_the_older_is_served_first(self, start: Start) -> None:
        queue = start()
        rank = queue.rank()
        first = queue.feeder("running", order=(1.0,))
        order = rank.assignment()
        late, old = queue.feeder("late", order=(2.0,)), queue.feeder("old", order=(0.0,))
        first.line.close()
        # Nobody wants it any more.
        assert hear(rank.line, "cancel")["assignment"] == order["assignment"]
        wait_until(lambda: queue.server._dispatcher._queue.num_waiting == 2, "both to be heard")
        rank.end(order, error="cancelled", counts=False)
        assert rank.assignment()["task"]["key"] == "old"
        assert hear(old.line, "begun")["key"] == "old"
        assert late.line.arrived() == []

    def test_a_rank_that_leaves_gives_its_task_to_another(self, start: Start) -> None:
        queue = start()
        feeder, lost = queue.feeder("a"), queue.rank()
        lost.assignment()
        other = queue.rank(node=1)
        lost.line.close()
        order = other.assignment()
        assert (order["task"]["key"], order["attempt"]) == ("a", 2)
        hear(feeder.line, "begun")
        ended = hear(feeder.line, "ended")
        assert "n0 is gone" in ended["report"]["error"]
        assert not ended["final"]

    @pytest.mark.parametrize(
        "message",
        [{}, {"type": "ended"}, {"type": "ended", "assignment": 1, "port": 1, "report": {"unknown": 1}}],
    )
    def test_a_rank_that_talks_nonsense_is_cut_off_and_loses_its_task(
        self, start: Start, message: dict[str, object], caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = start()
        queue.feeder("a")
        mad = queue.rank()
        mad.assignment()
        mad.line.send(message)
        assert is_cut(mad.line)
        wait_until(lambda: queue.server.num_ranks == 0, "the rank to be forgotten", SOON)
        assert queue.rank().assignment()["attempt"] == 2
        # It can be read what was wrong: that is a mistake of ours.
        assert "a connection of the queue broke" in caplog.text

    def test_a_feeder_that_talks_nonsense_takes_its_work_along(self, start: Start) -> None:
        queue = start()
        rank, feeder = queue.rank(), queue.feeder("a")
        rank.assignment()
        feeder.line.send({"tusks": []})
        hear(rank.line, "cancel")

    def test_partners_of_a_failed_part_are_told_to_stop(self, start: Start) -> None:
        queue = start(team_size=2)
        queue.feeder("a")
        first, second = queue.rank(), queue.rank(local=1)
        order, same = first.assignment(), second.assignment()
        assert (order["world"]["rank"], same["world"]["rank"]) == (0, 1)
        assert order["world"]["port"] == same["world"]["port"] == 4000
        second.end(same, error="signal 9")
        assert hear(first.line, "cancel")["assignment"] == order["assignment"]
        first.end(order, error="its team was broken up", counts=False)
        # The next world of this team has another port.
        assert first.assignment()["world"]["port"] == 5000

    def test_what_is_lost_with_the_ranks_step_is_no_death_and_no_progress(self, start: Start) -> None:
        queue = start(step=lambda: lambda: False)
        rank = queue.rank()
        feeder = queue.feeder("a", attempts=1)
        rank.assignment()
        hear(feeder.line, "begun")
        rank.line.close()
        ended = hear(feeder.line, "ended")
        assert (ended["final"], ended["report"]["counts"]) == (False, False)
        assert queue.server.finished == 0
        again = queue.rank()
        again.end(again.assignment(), result={})
        hear(feeder.line, "begun")
        assert hear(feeder.line, "ended")["final"]
        assert queue.server.finished == 1

    def test_partners_on_other_hosts_are_not_sent_to_their_own_loopback(self, start: Start) -> None:
        """Where a host calls itself 127.0.1.1, its own ranks come by the loopback."""
        outside = [
            address.address
            for addresses in psutil.net_if_addrs().values()
            for address in addresses
            if address.family == socket.AF_INET and not address.address.startswith("127.")
        ]
        if not outside:
            pytest.skip("this host has the loopback alone")
        hosts = ("127.0.0.1", outside[0])
        queue = start(team_size=2, hosts=hosts)
        team = [FakeRank(dataclasses.replace(queue.address, hosts=(hosts[node],)), node) for node in range(2)]
        queue.feeder("a")
        assert [rank.assignment()["world"]["address"] for rank in team] == [outside[0]] * 2
        for rank in team:
            rank.line.close()


class TestSilence:
    def test_a_silent_rank_is_given_up_and_cut_off(self, start: Start) -> None:
        queue = start(silence_seconds=0.4)
        feeder, silent = queue.feeder("a"), queue.rank()
        silent.assignment()
        hear(feeder.line, "begun")
        assert "no sign of life from n0" in hear(feeder.line, "ended")["report"]["error"]
        assert is_cut(silent.line)
        assert queue.server.num_ranks == 0

    def test_signs_of_life_keep_it(self, start: Start) -> None:
        queue = start(silence_seconds=0.6)
        rank = queue.rank()
        until = time.monotonic() + 1.3
        while time.monotonic() < until:
            rank.line.send({"type": "beat"})
            time.sleep(0.05)
        assert queue.server.num_ranks == 1

    def test_its_own_standstill_is_nobodys_silence(self, start: Start) -> None:
        queue = start(silence_seconds=0.6)
        feeder, rank = queue.feeder("a"), queue.rank()
        order = rank.assignment()
        hear(feeder.line, "begun")
        # As when the batch node stands still: what the ranks say does not even arrive there.
        over = threading.Event()
        queue.server._loop.call_soon_threadsafe(lambda: (time.sleep(1.2), over.set()))
        assert over.wait(PATIENCE)
        time.sleep(0.1)
        until = time.monotonic() + 0.4
        while time.monotonic() < until:
            rank.line.send({"type": "beat"})
            time.sleep(0.05)
        rank.end(order, result={})
        assert hear(feeder.line, "ended")["final"]

    def test_tasks_that_no_team_can_take_are_noticed(self, start: Start) -> None:
        queue = start(team_size=2)
        feeder, rank = queue.feeder("a"), queue.rank()
        wait_until(lambda: queue.server.stranded_seconds > 0.2, "a rank alone to be too few")
        other = queue.rank(local=1)
        rank.assignment()
        wait_until(lambda: queue.server.stranded_seconds == 0.0, "it to run")
        other.line.close()
        rank.end(hear(rank.line, "cancel"), error="cancelled", counts=False)
        wait_until(lambda: queue.server.stranded_seconds > 0.0, "a rank alone to be too few again")
        feeder.line.close()
        wait_until(lambda: queue.server.stranded_seconds == 0.0, "nobody to want anything")


def test_a_warning_of_a_node_is_told_once_to_each_feeder_whenever_it_comes(start: Start) -> None:
    queue = start()
    early = queue.feeder("a")
    for local in range(2):
        queue.rank(local=local).line.send({"type": "warning", "text": f"rank {local}"})
    hear(early.line, "begun")
    told = hear(early.line, "warning")
    late = queue.feeder("b")
    assert hear(late.line, "warning") == told
    hear(late.line, "begun")


class TestTheEnd:
    def test_draining_lets_run_what_runs_and_gives_the_rest_back(self, start: Start) -> None:
        queue = start()
        rank = queue.rank()
        feeder = queue.feeder("a", "b")
        order = rank.assignment()
        assert hear(feeder.line, "begun")["key"] == order["task"]["key"]
        queue.server.drain(100.0)
        assert hear(rank.line, "drain")["seconds"] == 100.0
        assert not queue.server.drained.is_set()
        late = queue.feeder("c")
        hear(late.line, "interrupted")
        rank.end(order, result={})
        assert hear(feeder.line, "ended")["final"]
        hear(feeder.line, "interrupted")
        assert queue.server.drained.wait(PATIENCE)
        # Nothing comes after it.
        queue.stop()
        assert [message["type"] for message in feeder.line.arrived()] == ["bye"]

    def test_draining_with_nothing_to_do_is_over_at_once(self, start: Start) -> None:
        queue = start()
        queue.server.drain(100.0)
        assert queue.server.drained.is_set()

    def test_an_attempt_that_dies_while_draining_is_not_begun_again(self, start: Start) -> None:
        queue = start()
        feeder, rank = queue.feeder("a"), queue.rank()
        order = rank.assignment()
        queue.server.drain(100.0)
        hear(rank.line, "drain")
        rank.end(order, error="signal 9")
        hear(feeder.line, "begun")
        assert not hear(feeder.line, "ended")["final"]
        hear(feeder.line, "interrupted")

    def test_a_notice_from_every_rank_is_one_question(self, start: Start) -> None:
        asked = []

        def seconds_left() -> float:
            asked.append(threading.current_thread())
            return 77.0

        queue = start(seconds_left=seconds_left)
        ranks = [queue.rank(local=local) for local in range(3)]
        for rank in ranks:
            rank.line.send({"type": "notice", "within": None})
        assert [hear(rank.line, "drain")["seconds"] for rank in ranks] == [77.0] * 3
        # A nearer end is told even so: after the signal ahead of the time limit, somebody cancels the job.
        for rank in ranks:
            rank.line.send({"type": "notice", "within": 30.0})
        assert [hear(rank.line, "drain")["seconds"] for rank in ranks] == [30.0] * 3
        assert len(asked) == 1
        # Asking may take long: the queue goes on meanwhile.
        assert asked[0] is not queue.server._thread

    def test_partners_of_one_that_left_in_time_may_leave_in_time(self, start: Start) -> None:
        queue = start(team_size=2)
        feeder, first, second = queue.feeder("a"), queue.rank(), queue.rank(local=1)
        order, same = first.assignment(), second.assignment()
        queue.server.drain(20.0)
        second.end(same, error="interrupted", counts=False)
        hear(first.line, "drain")
        first.end(order, error="interrupted", counts=False)
        hear(feeder.line, "begun")
        assert hear(feeder.line, "ended")["report"]["counts"] is False
        assert first.line.arrived() == []
        assert queue.server.drained.wait(PATIENCE)

    def test_dismissed_ranks_cost_no_attempt(self, start: Start) -> None:
        queue = start()
        feeder, rank = queue.feeder("a", attempts=1), queue.rank()
        order = rank.assignment()
        queue.server.dismiss("srun died")
        hear(rank.line, "bye")
        # A word from one that was sent away changes nothing.
        rank.end(order, result={})
        hear(feeder.line, "begun")
        ended = hear(feeder.line, "ended")
        assert (ended["report"]["error"], ended["report"]["counts"], ended["final"]) == ("srun died", False, False)
        assert queue.rank().assignment()["attempt"] == 1

    def test_goodbye_comes_after_all_that_was_to_say(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "_GOODBYE_SECONDS", 20.0)
        queue = start()
        feeder, rank = queue.feeder("a"), queue.rank()
        # More than the system's buffers hold, to a feeder that reads slowly.
        curve = "x" * 30_000_000
        rank.end(rank.assignment(), result={"curve": curve})
        hear(feeder.line, "begun")
        wait_until(lambda: queue.server.finished == 1, "the answer to be there")
        stopping = threading.Thread(target=queue.stop)
        stopping.start()
        hear(rank.line, "bye")
        rank.line.close()
        assert len(hear(feeder.line, "ended")["report"]["result"]["curve"]) == len(curve)
        hear(feeder.line, "bye")
        feeder.line.close()
        stopping.join(10.0)
        assert not stopping.is_alive()

    def test_who_does_not_leave_is_cut_off(self, start: Start) -> None:
        queue = start()
        rank, feeder = queue.rank(), queue.feeder("a")
        with queue.stranger() as stranger:
            rank.assignment()
            began = time.monotonic()
            queue.stop()
            assert time.monotonic() - began < 10.0
            assert stranger.recv(1) == b""
        hear(rank.line, "bye")
        assert is_cut(rank.line)
        hear(feeder.line, "begun")
        hear(feeder.line, "bye")
        with pytest.raises(ConnectionError):
            queue.address.connect({"role": "feeder", "order": [0]})

    def test_who_left_is_not_waited_for(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "_GOODBYE_SECONDS", 60.0)
        queue = start()
        rank = queue.rank()

        def leave() -> None:
            hear(rank.line, "bye")
            rank.line.close()

        leaving = threading.Thread(target=leave)
        leaving.start()
        began = time.monotonic()
        queue.stop()
        leaving.join()
        assert time.monotonic() - began < 20.0

    def test_who_comes_while_others_leave_hears_goodbye(self, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server_module, "_GOODBYE_SECONDS", 60.0)
        queue = start()
        rank = queue.rank()
        stopping = threading.Thread(target=queue.stop)
        stopping.start()
        hear(rank.line, "bye")
        hear(queue.rank(local=1).line, "bye")
        rank.line.close()
        stopping.join(20.0)
        assert not stopping.is_alive()


def test_a_message_arrives_however_it_is_cut(start: Start) -> None:
    queue = start()
    with queue.stranger() as slow:
        content = pack({"type": "hello", "token": queue.address.token, "role": "feeder", "order": [0]})
        for at in range(len(content)):
            slow.sendall(content[at : at + 1])
        size = struct.unpack(">I", slow.recv(4))[0]
        assert json.loads(slow.recv(size))["type"] == "welcome"


def test_a_closed_line_says_so(start: Start) -> None:
    queue = start()
    rank = queue.rank()
    queue.stop()
    hear(rank.line, "bye")
    with pytest.raises(Disconnected):
        rank.line.receive(5.0)
