"""How a browser comes to be let in: a token that is good once, and the cookie that it is exchanged for."""

from __future__ import annotations

import hmac
import os
import secrets
import threading
from pathlib import Path

from harmony_core.atomic import atomic_write

OWNER_ONLY = 0o600


class Entrance:
    """The secrets of one server; none of them outlives it.

    Whoever has an account on this machine can connect to the loopback, so an address alone lets nobody in. All pages
    lie in a folder whose name is a secret too, and the cookie is for that folder: a browser sends cookies to every port
    of a host, and so to the servers of others, but not for folders that it was not told of.

    Args:
        file: where the address of the next entry is kept, for its owner alone; one that is used gives way to another.
        port: of the server.
    """

    def __init__(self, file: Path, port: int) -> None:
        self.file, self._port = file, port
        self.folder = secrets.token_urlsafe(16)
        self.cookie = f"harmony-{port}"
        self._secret = secrets.token_urlsafe(32)
        self._lock = threading.Lock()
        self._token = self._renewed()

    @property
    def address(self) -> str:
        """Where the next browser enters; it is good once."""
        return f"http://127.0.0.1:{self._port}/enter?token={self._token}"

    def enter(self, token: str) -> str | None:
        """The cookie's value for the token, which is void from then on; None for a wrong one."""
        with self._lock:
            if not _equal(token, self._token):
                return None
            self._token = self._renewed()
            return self._secret

    def knows(self, cookie: str | None) -> bool:
        """Whether a cookie is the one that was given."""
        return cookie is not None and _equal(cookie, self._secret)

    def close(self) -> None:
        """Nobody can enter any more."""
        self.file.unlink(missing_ok=True)

    def _renewed(self) -> str:
        self._token = secrets.token_urlsafe(32)
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        atomic_write(self.file, f"{self.address}\n".encode(), mode=OWNER_ONLY)
        return self._token


def entrance_file(port: int) -> Path:
    """Where the address of a server on this port is kept: a folder of this user's that other hosts do not share."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(runtime) if runtime else Path.home() / ".local" / "state"
    return folder / "harmony" / f"ui-{os.uname().nodename}-{port}"


def _equal(told: str, right: str) -> bool:
    return hmac.compare_digest(told.encode("utf-8", "surrogateescape"), right.encode())
