"""What strangers, crashes and other programs leave in messages, address files and leases: named errors alone."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import struct
from pathlib import Path

import pytest

from harmony_core.workers import Held, Lease, owner
from harmony_core.workers.address import Address
from harmony_core.workers.wire import Disconnected, Line, pack, receive
from tests.workers.rubbish import rubbish

MESSAGES = [
    {"type": "hello", "token": "0" * 64, "role": "rank", "node": "n0", "node_index": 0, "local": 0, "port": 4000},
    {"type": "ended", "assignment": 1, "report": {"result": {"loss": 1.5}}, "port": 5000},
]
ADDRESS = dataclasses.asdict(Address(("127.0.0.1", "n0"), 4000, "0" * 64, {"threads": 1}, "n0"))


def test_messages() -> None:
    """20,000 frames, whole and cut, of right and wrong lengths."""
    heard = 0

    async def hear(content: bytes) -> None:
        nonlocal heard
        reader = asyncio.StreamReader()
        reader.feed_data(content)
        reader.feed_eof()
        try:
            while True:
                assert isinstance(await receive(reader, 4096), dict)
                heard += 1
        except Disconnected:
            pass

    async def all_of_them() -> None:
        for number, content in enumerate(rubbish(20_000, 1, MESSAGES)):
            length = len(content) + (0, 0, 0, 1, -1, 2**31)[number % 6]
            await hear(struct.pack(">I", max(0, length)) + content)

    asyncio.run(all_of_them())
    assert 1_000 < heard < 20_000


def test_messages_to_a_rank_or_feeder() -> None:
    """5,000 frames into the blocking end of a line."""
    heard = 0
    for content in rubbish(5_000, 2, MESSAGES):
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.sendall(struct.pack(">I", len(content)) + content)
        line = Line.__new__(Line)
        line._socket, line._buffer = ours, bytearray()
        try:
            while True:
                assert isinstance(line.receive(5.0), dict)
                heard += 1
        except Disconnected:
            pass
        finally:
            line.close()
    assert heard > 1_000


def test_what_is_sent_is_heard_whatever_it_holds() -> None:
    message = {"text": "\ud800 é \0", "number": float("inf"), "deep": [[{}]]}

    async def hear() -> object:
        reader = asyncio.StreamReader()
        reader.feed_data(pack(message))
        return await receive(reader)

    assert asyncio.run(hear()) == message


def test_address_files() -> None:
    """20,000 contents."""
    read = 0
    for content in rubbish(20_000, 3, [ADDRESS]):
        try:
            found = Address.parse(content)
        except ValueError:
            continue
        assert 0 < found.port < 2**16
        assert all(isinstance(host, str) for host in found.hosts)
        read += 1
    assert 1_000 < read < 20_000


def test_an_address_file_that_is_none_is_waited_for_and_named(tmp_path: Path) -> None:
    path = tmp_path / "queue.json"
    path.write_bytes(b"caf\xe9")
    with pytest.raises(TimeoutError, match=f"{path} holds no address"):
        Address.read(path, 0.1)


def test_lease_files() -> None:
    """20,000 contents: whose a lease is, or nobody's."""
    named = 0
    for content in rubbish(20_000, 4, [dataclasses.asdict(owner.me())]):
        found = owner.parse(content)
        if found is not None:
            owner.is_running(found)
            named += 1
    assert 1_000 < named < 20_000


def test_files_of_others_in_a_leases_folder_are_none_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "lease"
    folder.mkdir()
    for name in (b"\xb2.json", "²".encode() + b".json", b"000009.txt", b"caf\xe9.json", b"000010.json.bak", b".json"):
        (Path(str(folder)) / name.decode(errors="surrogateescape")).write_bytes(b"{}")
    with Lease(folder, beat_seconds=0.05, silence_seconds=0.2) as mine:
        mine.check()
        with pytest.raises(Held):
            Lease(folder, beat_seconds=0.05, silence_seconds=0.2).acquire()
    assert (folder / "000009.txt").exists()
