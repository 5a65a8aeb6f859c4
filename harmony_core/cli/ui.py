"""`harmony ui`: searches in a browser, live and read-only."""

from __future__ import annotations

import importlib.util
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from harmony_core.errors import UserError
from harmony_core.host import host_name
from harmony_core.store import SearchFolder

_NEEDED = ("starlette", "uvicorn", "sklearn")


def ui(
    search: Annotated[
        Path | None, typer.Argument(help="Folder of a search, or its name; every one under results/ by default.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the loopback; 0 is any that is free.")] = 0,
) -> None:
    """Shows searches in a browser, live, until Ctrl-C; reads their files, and changes nothing.

    It listens on this machine alone, and lets in whoever has the address that it prints, once; for a browser elsewhere
    it prints the tunnel too.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError("harmony ui", f"needs {', '.join(missing)}", "pip install 'harmony-search[ui]'")
    only = None if search is None else _find(search)
    from harmony_core.ui.entrance import Entrance, entrance_file
    from harmony_core.ui.followed import Searches
    from harmony_core.ui.server import listen, serve

    listening = listen(port)
    number = listening.getsockname()[1]
    entrance = Entrance(entrance_file(number), number)
    typer.echo(entrance.address)
    typer.echo(f"good once; the next one is in {entrance.file}")
    user = os.environ.get("USER", "USER")
    typer.echo(f"from elsewhere: ssh -N -L {number}:127.0.0.1:{number} {user}@{host_name()}")
    # Told to end, it ends as by Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        serve(listening, entrance, Searches(only))
    except KeyboardInterrupt:
        sys.stdout.flush()
        # A thread may wait for a sign of life from another host, for half a minute; it has nothing to finish.
        os._exit(0)


def _find(search: Path) -> SearchFolder:
    """The folder of a search; one that cannot be read is shown as that."""
    for path in (search, Path("results") / search):
        if SearchFolder(path).main.is_file() or SearchFolder(path).manifest.is_file():
            return SearchFolder(path)
    return SearchFolder.find(search)
