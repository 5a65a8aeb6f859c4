"""A running server, and a browser at it."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.ui.live_search import LiveSearch, live_search
from tests.waiting import PATIENCE


@dataclass
class Served:
    """A `harmony ui` that runs.

    Args:
        root: where it was started.
        port: its port.
        address: what it printed, not used yet.
        file: where the next address is.
        process: its.
    """

    root: Path
    port: int
    address: str
    file: Path
    process: subprocess.Popen[str]

    def next_address(self) -> str:
        """An address that is good once."""
        return self.file.read_text().strip()

    def enter(self) -> tuple[str, str]:
        """A cookie, as a browser sends it, and the folder that it is for."""
        with open_url(self.next_address()) as answer:
            cookie = answer.headers["set-cookie"]
        found = re.fullmatch(r"(harmony-\d+=[\w-]+); HttpOnly; Path=(/[\w-]{20,}/); SameSite=strict", cookie)
        assert found is not None, cookie
        return found[1], found[2]


def open_url(address: str, **headers: str) -> HTTPResponse:
    """The answer to a request with these headers, `_` for `-`."""
    request = urllib.request.Request(address, headers={name.replace("_", "-"): text for name, text in headers.items()})
    answer: HTTPResponse = urllib.request.urlopen(request, timeout=PATIENCE)
    return answer


def asked(served: Served, name: str, **parameters: Any) -> Any:
    """What the server says of the toy search, asked until it has read all that there is, as a page does."""
    cookie, folder = served.enter()
    address = f"http://127.0.0.1:{served.port}{folder}api/{name}?{urlencode({'s': 'toy', **parameters}, doseq=True)}"
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            with open_url(address, cookie=cookie) as answer:
                told = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)
        # The server takes its time for an answer that is not whole.
        if not told.get("reading") and told.get("whole", True):
            return told
    raise AssertionError(told)


@contextmanager
def serving(root: Path, *arguments: str) -> Iterator[Served]:
    """A server of the searches under `root`."""
    runtime = root / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "harmony_core", "ui", *arguments],
        cwd=root,
        env={**os.environ, "XDG_RUNTIME_DIR": str(runtime), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        file = Path(process.stdout.readline().rpartition(" is in ")[2].strip())
        yield Served(root, int(address.split(":")[2].split("/")[0]), address, file, process)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=PATIENCE)
        assert process.stdout is not None
        process.stdout.close()


@contextmanager
def tunnel(port: int) -> Iterator[int]:
    """A port of the loopback whose connections go to another, as those of `ssh -L` do."""
    listening: queue.Queue[tuple[int, asyncio.AbstractEventLoop, asyncio.Event]] = queue.Queue()

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while content := await reader.read(65536):
                writer.write(content)
                await writer.drain()
        finally:
            writer.close()

    async def joined(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", port)
        with suppress(ConnectionError):
            await asyncio.gather(copy(reader, there_writer), copy(there_reader, writer))

    async def serve() -> None:
        ended = asyncio.Event()
        server = await asyncio.start_server(joined, "127.0.0.1", 0)
        listening.put((server.sockets[0].getsockname()[1], asyncio.get_running_loop(), ended))
        await ended.wait()
        server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    found, loop, ended = listening.get(timeout=PATIENCE)
    try:
        yield found
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveSearch]:
    """A search that is under way, with a process that holds its lease."""
    made = live_search(tmp_path_factory.mktemp("toy"))
    holder = made.run()
    yield made
    holder.kill()
    holder.wait()
    assert holder.stdout is not None
    holder.stdout.close()
    made.end()


@pytest.fixture(scope="module")
def served(toy: LiveSearch) -> Iterator[Served]:
    with serving(toy.folder.path.parents[1]) as found:
        yield found
