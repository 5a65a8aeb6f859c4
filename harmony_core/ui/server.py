"""The server: a socket of the loopback, the guard, and what it answers."""

from __future__ import annotations

import errno
import os
import socket

import uvicorn

from harmony_core.errors import UserError
from harmony_core.ui.answers import application
from harmony_core.ui.entrance import Entrance
from harmony_core.ui.followed import Searches
from harmony_core.ui.guard import Guard

_MOST_CONNECTIONS = 64


def listen(port: int) -> socket.socket:
    """A socket on the loopback, to which other machines have no way.

    Args:
        port: 0 is any that is free.

    Raises:
        UserError: the port is taken, or not one for users.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    # A port whose last server has just ended can be had; one that is listened to cannot.
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind(("127.0.0.1", port))
        # Only one who listens has the port: of two that are bound, the second would find out too late.
        found.listen(_MOST_CONNECTIONS)
    except OSError as error:
        found.close()
        taken = error.errno == errno.EADDRINUSE
        reason = "another process has this port" if taken else os.strerror(error.errno or 0)
        raise UserError("--port", port, f"{reason}; use another, or 0 for any that is free") from None
    return found


def serve(listening: socket.socket, entrance: Entrance, searches: Searches) -> None:
    """Answers until the process is told to end.

    Args:
        listening: from `listen`.
        entrance: who is let in.
        searches: what is shown.
    """
    config = uvicorn.Config(
        Guard(application(searches), entrance),
        # An access log would hold the token.
        access_log=False,
        log_level="error",
        lifespan="off",
        ws="none",
        http="h11",
        loop="asyncio",
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=2,
    )
    try:
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        entrance.close()
        searches.close()
