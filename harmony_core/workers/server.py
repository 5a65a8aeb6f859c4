"""The queue of an allocation as a TCP server: ranks ask for work, feeders bring it; lives outside every rank."""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from harmony_core.host import allow_open_files
from harmony_core.workers.address import LOOPBACK, Address
from harmony_core.workers.dispatcher import Dispatcher
from harmony_core.workers.door import Door
from harmony_core.workers.exchange import PROBE
from harmony_core.workers.health import WINDOW_SECONDS
from harmony_core.workers.lines import FeederLine, RankLine
from harmony_core.workers.task_queue import PATIENCE_SECONDS, TaskQueue
from harmony_core.workers.wire import MAX_GREETING_BYTES, Disconnected, Message, receive

_GREETING_SECONDS = 30.0
# A connection is cut off if after this long it has not taken what was left to say, and gone.
_GOODBYE_SECONDS = 4.0


class QueueServer:
    """Serves a `TaskQueue` from a thread of its own.

    Args:
        team_size: ranks a task.
        silence_seconds: a rank that has not been heard of for this long is given up.
        settings: of every rank (`beat_seconds`, `preload`, `threads`), handed out with the address.
        step: asked when a rank is gone with its work, for a way to tell whether what started the ranks is still
            there. Where it is not, they went with it, and no candidate is to blame.
        hosts: addresses of this host to listen on.
        probe: the function of the known small task that tells whether a node is healthy.
        window_seconds: how long a death waits for others on its node.
        patience_seconds: how long a task that died waits for another node.
        seconds_left: asked once, when a rank passes on the signal ahead of the time limit: how long the
            allocation still has.
        seconds_held: asked when a rank comes: how long the allocation has lasted. What a place was held for before
            its first rank came is charged to the first attempt there (`TaskQueue.join`).
    """

    def __init__(
        self,
        *,
        team_size: int = 1,
        silence_seconds: float = 60.0,
        settings: Message | None = None,
        seconds_left: Callable[[], float] = lambda: 0.0,
        seconds_held: Callable[[], float] = lambda: 0.0,
        step: Callable[[], Callable[[], bool]] | None = None,
        hosts: Sequence[str] = (LOOPBACK,),
        probe: str = PROBE,
        window_seconds: float = WINDOW_SECONDS,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        queue = TaskQueue(team_size, window_seconds, patience_seconds)
        self._dispatcher = Dispatcher(queue, self._spawn, seconds_left, step, probe, seconds_held)
        self._hosts = tuple(hosts)
        self._silence, self._settings = silence_seconds, settings or {}
        self._token = secrets.token_hex(32)
        self._number = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._greeted: set[asyncio.Task[Any]] = set()

    def start(self) -> Address:
        """Listens on a free port of its addresses; returns where, and the token that opens it."""
        allow_open_files()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="queue", daemon=True)
        self._thread.start()
        port = self._call(self._listen())
        node = os.environ.get("SLURMD_NODENAME", "")
        return Address(self._hosts, port, self._token, self._settings, node)

    def stop(self) -> None:
        """Tells every rank and feeder to leave, and ends when they have heard all that was left to say."""
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def drain(self, seconds: float) -> None:
        """Begins nothing more; what runs may go on for `seconds`. `drained` is set when nothing runs."""
        self._call(self._dispatcher.drain(seconds))

    def dismiss(self, why: str) -> None:
        """Sends every rank away, as when the srun that started them is gone; their attempts do not count."""
        self._call(self._dispatcher.dismiss(why))

    @property
    def drained(self) -> threading.Event:
        """Set when nothing runs after `drain`."""
        return self._dispatcher.drained

    @property
    def num_ranks(self) -> int:
        """Ranks that are connected now."""
        return len(self._dispatcher.ranks)

    @property
    def num_joined(self) -> int:
        """Ranks that have ever connected."""
        return self._dispatcher.num_joined

    @property
    def finished(self) -> int:
        """Attempts that have ended so far, but for those lost with their worker: whether anything gets on."""
        return self._dispatcher.finished

    @property
    def stranded_seconds(self) -> float:
        """How long tasks have waited while nothing ran, no team could be formed, and nobody came or went."""
        since = self._dispatcher.stranded_since
        return 0.0 if since is None else time.monotonic() - since

    def _call(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _listen(self) -> int:
        self._door = Door(self._hosts, self._greet, self._spawn)
        self._door.open()
        self._spawn(self._listen_for_silence())
        return self._door.port

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[Any]:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        self._greeted.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # This reports the error at once; asyncio would do so when it collects its garbage.
            self._loop.call_exception_handler({"message": "a connection of the queue broke", "exception": error})

    async def _close(self) -> None:
        self._dispatcher.close()
        # The others leave once they have heard the goodbye. To close here first could lose what is still on its way to
        # them.
        if self._greeted:
            await asyncio.wait(self._greeted, timeout=_GOODBYE_SECONDS)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        # The door closes once the tasks that wait at it have ended.
        self._door.close()
        self._dispatcher.forget_alarm()

    async def _greet(self, connected: socket.socket) -> None:
        try:
            reader, writer = await asyncio.open_connection(sock=connected)
        except OSError:
            connected.close()
            return
        try:
            hello = await asyncio.wait_for(receive(reader, MAX_GREETING_BYTES), _GREETING_SECONDS)
            # A token may be anything that JSON can hold, even half a character.
            shown = str(hello.get("token")).encode(errors="backslashreplace")
            if not hmac.compare_digest(shown, self._token.encode()):
                return
            connection = asyncio.current_task()
            assert connection is not None
            self._door.known(connection)
            self._greeted.add(connection)
            self._number += 1
            if hello["role"] == "rank":
                await RankLine(self._number, hello, writer).serve(self._dispatcher, reader)
            else:
                await FeederLine(self._number, hello, writer).serve(self._dispatcher, reader)
        except (Disconnected, TimeoutError):
            return
        finally:
            # The other side is gone or given up. `close` would wait until it has taken all that was sent.
            writer.transport.abort()

    async def _listen_for_silence(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(self._silence / 4)
            now = time.monotonic()
            if now - before > self._silence / 2:
                # This process itself stood still, and has not read what came in the meantime.
                for line in self._dispatcher.ranks.values():
                    line.heard = now
            before = now
            for line in list(self._dispatcher.ranks.values()):
                if now - line.heard > self._silence:
                    self._dispatcher.rank_left(line, f"no sign of life from {line.rank.node} for {self._silence:g} s")
                    # If the rank wakes up, it finds the line cut and comes back as another rank.
                    line.writer.transport.abort()
