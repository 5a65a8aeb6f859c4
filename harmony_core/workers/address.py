"""Where the queue of an allocation listens, and the token that opens it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import time
from pathlib import Path

from harmony_core.atomic import atomic_write
from harmony_core.workers.wire import Disconnected, Line, Message

ADDRESS_FILE = "queue.json"
_CONNECT_SECONDS = 10.0
# A queue to which thousands come at once takes a while to greet each.
_WELCOME_SECONDS = 60.0
_POLL_SECONDS = 0.05


@dataclasses.dataclass(frozen=True)
class Address:
    """Where a `QueueServer` listens.

    Args:
        hosts: names and numbers of its host, to be tried in this order.
        port: TCP port.
        token: what a connection must show first.
        settings: what a rank knows before it comes (`preload`, `threads`, `beat_seconds`).
        node: the scheduler's name for its node.
    """

    hosts: tuple[str, ...]
    port: int
    token: str = dataclasses.field(repr=False)
    settings: Message = dataclasses.field(default_factory=dict)
    node: str = ""

    def to_json(self) -> str:
        """As it is written to a file."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def read(cls, path: Path, timeout: float = 0.0) -> Address:
        """Reads a published address, waiting until it is there.

        Raises:
            TimeoutError: it was not there in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                data = json.loads(path.read_text(encoding="utf-8"))
                return cls(tuple(data["hosts"]), int(data["port"]), data["token"], data["settings"], data["node"])
            except FileNotFoundError:
                # A shared file system tells nobody when a file appears.
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{path} did not appear in {timeout:g} s") from None
                time.sleep(_POLL_SECONDS)

    def connect(self, hello: Message) -> tuple[Line, Message]:
        """Connects and greets; returns the line and the queue's welcome.

        Raises:
            ConnectionError: nobody answers there in time, or the token is refused.
        """
        line = Line.connect([(host, self.port) for host in self.hosts], _CONNECT_SECONDS)
        try:
            line.send({**hello, "type": "hello", "token": self.token})
            return line, line.receive(_WELCOME_SECONDS)
        except Disconnected:
            line.close()
            raise


def publish(address: Address, path: Path) -> None:
    """Writes an address for those who are to connect; only its owner may read it."""
    atomic_write(path, address.to_json().encode(), mode=0o600)


def own_addresses() -> list[str]:
    """Names and numbers under which this host may be reached, the surest first."""
    name = socket.gethostname()
    found = [name]
    with contextlib.suppress(OSError):
        found += sorted({str(info[4][0]) for info in socket.getaddrinfo(name, None, socket.AF_INET)})
    return found
