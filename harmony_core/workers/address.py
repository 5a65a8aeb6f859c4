"""Where the queue of an allocation listens, and the token that opens it."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import json
import socket
import time
from pathlib import Path

from harmony_core.atomic import PASSING, atomic_write
from harmony_core.slurm.job import address_of
from harmony_core.workers.wire import Disconnected, Line, Message

ADDRESS_FILE = "queue.json"
_CONNECT_SECONDS = 10.0
# A queue to which thousands come at once needs a while to greet each.
_WELCOME_SECONDS = 60.0
_POLL_SECONDS = 0.05
LOOPBACK = "127.0.0.1"


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
            TimeoutError: it was not there in time, or what was there is no address.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                return cls.parse(path.read_bytes())
            except FileNotFoundError:
                lacks = "did not appear"
            except ValueError as error:
                lacks = f"holds no address ({error})"
            except OSError as error:
                if error.errno not in PASSING:
                    raise
                lacks = f"could not be read ({error.strerror})"
            # A shared file system does not report that a file has appeared.
            if time.monotonic() > deadline:
                raise TimeoutError(f"{path} {lacks} in {timeout:g} s")
            time.sleep(_POLL_SECONDS)

    @classmethod
    def parse(cls, content: bytes) -> Address:
        """An address from a file's content; ValueError for what is none."""
        try:
            data = json.loads(content)
            made = cls(tuple(data["hosts"]), data["port"], data["token"], data["settings"], data["node"])
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        words = (*made.hosts, made.token, made.node)
        if not (all(isinstance(word, str) for word in words) and isinstance(made.settings, dict)):
            raise ValueError("a field of another kind")
        if not isinstance(made.port, int) or not 0 < made.port < 2**16:
            raise ValueError(f"port {made.port!r}")
        return made

    def connect(self, hello: Message) -> tuple[Line, Message]:
        """Connects and greets; returns the line and the queue's welcome.

        Raises:
            ConnectionError: nobody answers there in time, the token is refused, or another program answers.
        """
        line = Line.connect([(host, self.port) for host in self.hosts], _CONNECT_SECONDS)
        try:
            line.send({**hello, "type": "hello", "token": self.token})
            answer = line.receive(_WELCOME_SECONDS)
            if answer.get("type") != "welcome":
                raise Disconnected(f"what answers at port {self.port} is no queue")
            return line, answer
        except Disconnected:
            line.close()
            raise


def publish(address: Address, path: Path) -> None:
    """Writes an address for those who are to connect; only its owner may read it."""
    atomic_write(path, address.to_json().encode(), mode=0o600)


def allocation_addresses(num_nodes: int, node: str) -> tuple[str, ...]:
    """The addresses of this host that an allocation's ranks use, and no others: where the queue listens.

    On one node that is the loopback. Otherwise it is the address at which Slurm's own daemons reach this node; where
    Slurm does not say, what the host's name means, and at last the way out of this host.

    Args:
        num_nodes: of the allocation.
        node: Slurm's name for this one.
    """
    if num_nodes == 1:
        return (LOOPBACK,)
    asked = address_of(node)
    if asked is not None and _is_own(asked):
        return (asked,)
    named: set[str] = set()
    for name in (node, socket.gethostname()):
        with contextlib.suppress(OSError):
            named |= {str(info[4][0]) for info in socket.getaddrinfo(name or None, None, socket.AF_INET)}
    outside = sorted(one for one in named if not ipaddress.ip_address(one).is_loopback and _is_own(one))
    return tuple(outside) or (_way_out(),)


def _is_own(address: str) -> bool:
    with contextlib.suppress(OSError), socket.socket() as probe:
        probe.bind((address, 0))
        return True
    return False


def _way_out() -> str:
    """The address from which this host speaks to others; nothing is sent to find it. Loopback, where there is none."""
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        # The address is of the block for documentation (RFC 5737). Nobody has it, so the route to it is the general
        # one.
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])
    return LOOPBACK
