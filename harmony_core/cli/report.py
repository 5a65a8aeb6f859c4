"""`harmony report`: the report of a search, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmony_core.cli.answer import SearchArgument, tell_missing


def report(
    search: SearchArgument,
    out: Annotated[Path | None, typer.Option(help="Folder to write; the search's own report/ by default.")] = None,
) -> None:
    """Writes the report of what is done by now: a page, figures, architectures, a leaderboard.

    The page says which files of the search are missing; the exit code is 1 where any is.
    """
    from harmony_core.report import write_report

    typer.echo(write_report(search, out))
    tell_missing(search)
