"""Messages between feeders, queue and ranks: JSON behind a length, over TCP. Nothing received can run code."""

from __future__ import annotations

import asyncio
import json
import select
import socket
import struct
from typing import Any

Message = dict[str, Any]

_LENGTH = struct.Struct(">I")
# A candidate's answer holds its whole curve.
MAX_BYTES = 256 * 2**20
# A lost host does not even close its connections, and Linux would go on sending for a quarter of an hour.
UNACKNOWLEDGED_SECONDS = 60.0
# A peer that has not shown the token yet may not make this side allocate much.
MAX_GREETING_BYTES = 4096


class Disconnected(ConnectionError):
    """The other side is gone."""


def pack(message: Message) -> bytes:
    """A message as bytes on the wire."""
    content = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(content)) + content


async def receive(reader: asyncio.StreamReader, limit: int = MAX_BYTES) -> Message:
    """The next message of a stream.

    Raises:
        Disconnected: the stream has ended, or what came is no message.
    """
    try:
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        if size > limit:
            raise Disconnected(f"a message of {size} bytes")
        return _parse(await reader.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError, ValueError) as error:
        raise Disconnected(str(error)) from None


class Line:
    """A blocking connection that can also be waited for beside others (it has a `fileno`)."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(1000 * UNACKNOWLEDGED_SECONDS))
        connection.settimeout(None)
        self._socket = connection
        self._buffer = bytearray()

    @classmethod
    def connect(cls, addresses: list[tuple[str, int]], timeout: float) -> Line:
        """Connects to the first address that answers; ConnectionError if none does.

        Args:
            addresses: host and port, tried in this order.
            timeout: for each [s].
        """
        failures = []
        for host, port in addresses:
            try:
                connection = socket.create_connection((host, port), timeout)
            except OSError as error:
                failures.append(f"{host}:{port}: {error}")
                continue
            # Where nobody listens on this host, the kernel may choose that very port for our end, and TCP then connects
            # the socket with itself.
            if connection.getsockname() != connection.getpeername():
                return cls(connection)
            connection.close()
            failures.append(f"{host}:{port}: nobody but this process answers there")
        raise ConnectionError("; ".join(failures))

    @property
    def local_address(self) -> str:
        """This host's address as the other side sees it."""
        return str(self._socket.getsockname()[0])

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Sends a message; Disconnected if the other side is gone."""
        try:
            self._socket.sendall(pack(message))
        except OSError as error:
            raise Disconnected(str(error)) from None

    def receive(self, timeout: float | None = None) -> Message:
        """Waits for the next message; Disconnected if the other side is gone, or silent for `timeout` seconds."""
        self._socket.settimeout(timeout)
        try:
            while (message := self._next()) is None:
                self._fill()
        finally:
            self._socket.settimeout(None)
        return message

    def arrived(self) -> list[Message]:
        """The whole messages that are here, without waiting.

        Also those that came along with an earlier one: the descriptor does not tell of them.
        """
        if select.select([self._socket], [], [], 0)[0]:
            self._fill()
        messages = []
        while (message := self._next()) is not None:
            messages.append(message)
        return messages

    def close(self) -> None:
        """Ends the connection."""
        self._socket.close()

    def _fill(self) -> None:
        try:
            content = self._socket.recv(2**20)
        except OSError as error:
            raise Disconnected(str(error)) from None
        if not content:
            raise Disconnected("the connection was closed")
        self._buffer += content

    def _next(self) -> Message | None:
        if len(self._buffer) < _LENGTH.size:
            return None
        (size,) = _LENGTH.unpack_from(self._buffer)
        end = _LENGTH.size + size
        if size > MAX_BYTES:
            raise Disconnected(f"a message of {size} bytes")
        if len(self._buffer) < end:
            return None
        content = bytes(self._buffer[_LENGTH.size : end])
        del self._buffer[:end]
        return _parse(content)


def _parse(content: bytes) -> Message:
    try:
        message = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Disconnected(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise Disconnected("not a JSON object")
    return message
