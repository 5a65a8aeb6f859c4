"""The queue's door: where it listens, and how many may stand there before they have shown the token."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any

# A rank greets as soon as it is connected, so whoever stands here for longer is none.
_STRANGERS = 256
_LEAST_SECONDS = 1.0
# There is no file, or no memory for one, until others go.
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_EXHAUSTED_SECONDS = 1.0
_BACKLOG = 4096
# How many ports are tried until one is free on every address.
_TRIES = 20

Greet = Callable[[socket.socket], Coroutine[Any, Any, None]]


class Door:
    """Takes connections on one port of some addresses.

    Args:
        hosts: addresses of this host to listen on.
        greet: speaks with one connection as long as that stays; `known` says when it has shown the token.
        spawn: runs a coroutine as a task of the loop.
    """

    def __init__(
        self, hosts: Sequence[str], greet: Greet, spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[Any]]
    ) -> None:
        self._greet, self._spawn = greet, spawn
        self._sockets = _listen(hosts)
        # When each stranger came, the first to come first.
        self._strangers: dict[asyncio.Task[Any], float] = {}
        self._fewer = asyncio.Event()
        self._exhausted = False

    @property
    def port(self) -> int:
        """The port of every address."""
        return int(self._sockets[0].getsockname()[1])

    def open(self) -> None:
        """Lets in whoever comes, from now on."""
        for one in self._sockets:
            self._spawn(self._take(one))

    def known(self, task: asyncio.Task[Any]) -> None:
        """A connection has shown the token, or is gone."""
        self._strangers.pop(task, None)
        self._fewer.set()

    def close(self) -> None:
        """Lets nobody in any more."""
        for one in self._sockets:
            one.close()

    async def _take(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._make_room()
            try:
                connection, _ = await loop.sock_accept(listener)
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    # The stranger went before this accepted it.
                    continue
                await self._wait_for_files(error)
                continue
            self._exhausted = False
            task = self._spawn(self._greet(connection))
            self._strangers[task] = loop.time()
            task.add_done_callback(self.known)
            # This also closes it where the task was cut off before it began.
            task.add_done_callback(partial(_close, connection))

    async def _make_room(self) -> None:
        """Where too many strangers stand, the first that had its time to greet must go."""
        loop = asyncio.get_running_loop()
        while len(self._strangers) >= _STRANGERS:
            oldest, since = next(iter(self._strangers.items()))
            left = since + _LEAST_SECONDS - loop.time()
            if left <= 0:
                oldest.cancel()
                self.known(oldest)
            else:
                self._fewer.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._fewer.wait(), left)

    async def _wait_for_files(self, error: OSError) -> None:
        if not self._exhausted:
            self._exhausted = True
            print(f"warning: the queue takes no more connections for now: {error}", file=sys.stderr, flush=True)
        await asyncio.sleep(_EXHAUSTED_SECONDS)


def _close(connection: socket.socket, _: asyncio.Task[Any]) -> None:
    connection.close()


def _listen(hosts: Sequence[str]) -> list[socket.socket]:
    """Sockets on one port of all hosts, which another program may have on one of them."""
    tries = 0
    while True:
        tries += 1
        sockets: list[socket.socket] = []
        try:
            for host in hosts:
                port = sockets[0].getsockname()[1] if sockets else 0
                sockets.append(socket.create_server((host, port), backlog=_BACKLOG))
                sockets[-1].setblocking(False)
            return sockets
        except OSError as error:
            for one in sockets:
                one.close()
            if error.errno != errno.EADDRINUSE or tries == _TRIES:
                raise
