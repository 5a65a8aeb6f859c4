"""Who stands at the queue's door: few strangers, for a short time, on the allocation's addresses alone."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harmony_core.workers import address as address_module
from harmony_core.workers import door as door_module
from harmony_core.workers.address import LOOPBACK, allocation_addresses
from harmony_core.workers.wire import pack
from tests.waiting import PATIENCE, SOON, wait_until
from tests.workers.allocation import ROOT
from tests.workers.peers import Queue


@pytest.fixture
def queue() -> Iterator[Queue]:
    with Queue() as made:
        yield made


def own_addresses() -> list[str]:
    """This host's, the loopback aside."""
    found = [one.address for many in psutil.net_if_addrs().values() for one in many if one.family == socket.AF_INET]
    return [address for address in found if not address.startswith("127.")]


def test_it_listens_on_its_addresses_alone(queue: Queue) -> None:
    listening = [
        one.laddr.ip
        for one in psutil.Process().net_connections("inet")
        if one.status == psutil.CONN_LISTEN and one.laddr.port == queue.address.port
    ]
    assert listening == [LOOPBACK]
    for outside in own_addresses():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((outside, queue.address.port), 5.0)


class TestWhichAddresses:
    @pytest.fixture
    def slurm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """What scontrol answers."""
        scontrol = tmp_path / "scontrol"
        scontrol.write_text('#!/bin/sh\n[ -s "$0.says" ] || exit 1\ncat "$0.says"\n')
        scontrol.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        return tmp_path / "scontrol.says"

    def test_one_node_is_the_loopback(self) -> None:
        assert allocation_addresses(1, "n1") == (LOOPBACK,)

    def test_slurm_knows_best(self, slurm: Path) -> None:
        # An address of this host that its name does not mean.
        slurm.write_text("n1: 127.0.0.5:6818\n")
        assert allocation_addresses(2, "n1") == ("127.0.0.5",)

    @pytest.mark.parametrize(
        "answer",
        [b"", b"n1: 192.0.2.7:6818\n", b"\xff\xfe\n", b"\n", b"n1: host.name:6818\n", b"n1", b"n1: [::1]:6818\n"],
        ids=["none", "of another host", "rubbish", "a line", "a name", "cut", "of another kind"],
    )
    def test_otherwise_the_hosts_name_or_its_way_out(
        self, slurm: Path, answer: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        slurm.write_bytes(answer)
        outside = own_addresses()
        if not outside:
            pytest.skip("this host has the loopback alone")
        info = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, 0)) for one in ("127.0.1.1", outside[0])]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: info)
        assert allocation_addresses(2, "n1") == (outside[0],)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_: info[:1])
        assert allocation_addresses(2, "n1") == (address_module._way_out(),)
        assert address_module._way_out() != "0.0.0.0"


class TestStrangers:
    @pytest.mark.parametrize(
        "greeting",
        [
            pack({"type": "hello", "token": "\ud800"}),
            struct.pack(">I", 18) + b'{"token":"\\ud800"}',
            struct.pack(">I", 2**32 - 1),
            struct.pack(">I", 4097) + b"x" * 4097,
            struct.pack(">I", 3) + b"\xff\xfe\xfd",
            struct.pack(">I", 2) + b"[]",
            struct.pack(">I", 0),
            struct.pack(">I", 3000) + b"[" * 3000,
            struct.pack(">I", 4000) + b"9" * 4000,
            struct.pack(">I", 100) + b"{}",
            b"GET / HTTP/1.1\r\n\r\n",
        ],
    )
    def test_nonsense_is_refused_without_a_word(
        self, queue: Queue, greeting: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with queue.stranger() as stranger:
            stranger.sendall(greeting)
            stranger.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(1) == b""
        assert queue.rank()
        assert caplog.text == ""
        assert capfd.readouterr().err == ""

    def test_only_so_many_stand_there_and_who_knows_the_token_comes_in(
        self, queue: Queue, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(door_module, "_STRANGERS", 8)
        monkeypatch.setattr(door_module, "_LEAST_SECONDS", 0.1)
        strangers = [queue.stranger() for _ in range(40)]
        queue.feeder("a")
        assert queue.rank().assignment()["task"]["key"] == "a"
        assert len(queue.server._door._strangers) <= 8

        def cut() -> int:
            for one in strangers:
                one.setblocking(False)
            return sum(_is_cut(one) for one in strangers)

        # The first to come are the first to go.
        wait_until(lambda: cut() >= 32, "the first strangers to be cut off", SOON)
        assert not _is_cut(strangers[-1])

    def test_many_who_know_the_token_may_come_at_once(self, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(door_module, "_STRANGERS", 8)
        waiting = [queue.stranger() for _ in range(200)]
        for number, one in enumerate(waiting):
            hello = {"type": "hello", "token": queue.address.token, "role": "rank", "port": 1}
            one.sendall(pack({**hello, "node": "n0", "node_index": 0, "local": number}))
        wait_until(lambda: queue.server.num_ranks == 200, "all to come in")


def _is_cut(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_without_files_left_it_waits_quietly_and_takes_up_again(tmp_path: Path) -> None:
    """In a process of its own, whose limit is low."""
    code = (
        "import resource, socket, sys, time\n"
        "from harmony_core.workers import door, server\n"
        "server._allow_open_files = lambda: None\n"
        "door._EXHAUSTED_SECONDS = 0.1\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "from tests.workers.peers import Queue\n"
        "with Queue() as queue:\n"
        "    taken = []\n"
        "    while True:\n"
        "        try: taken.append(open('/dev/null'))\n"
        "        except OSError: break\n"
        "    taken.pop().close()\n"
        "    began = time.process_time(); one = queue.stranger(); time.sleep(2.0)\n"
        "    print(time.process_time() - began < 0.5)\n"
        "    one.close()\n"
        "    for file in taken: file.close()\n"
        "    queue.feeder('a'); print(queue.rank().assignment()['task']['key'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.stdout == "True\na\n", done.stderr
    assert done.stderr.count("\n") == 1
    assert "the queue takes no more connections for now: [Errno 24] Too many open files" in done.stderr
