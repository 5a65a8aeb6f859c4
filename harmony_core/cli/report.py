"""`harmony report`: the report of a search, finished or not."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harmony_core.cli.answer import INCOMPLETE, SearchArgument
from harmony_core.store import SearchFolder

# No more than a screen of what the report is made without.
_MOST_LINES = 10


def report(
    search: SearchArgument,
    out: Annotated[Path | None, typer.Option(help="Folder to write; the search's own report/ by default.")] = None,
) -> None:
    """Writes the report of what is done by now: a page, figures, architectures, a leaderboard.

    The page says which files of the search are missing or damaged, and what they cost; the exit code is 1 where any is.
    """
    from harmony_core.report.findings import gather
    from harmony_core.report.printable import printable
    from harmony_core.report.write import write_findings

    folder = SearchFolder.find(search)
    findings = gather(folder)
    typer.echo(write_findings(findings, folder.report if out is None else out))
    for gap in findings.gaps[:_MOST_LINES]:
        typer.echo(printable(str(gap)), err=True)
    if len(findings.gaps) > _MOST_LINES:
        typer.echo(f"and {len(findings.gaps) - _MOST_LINES} more files, which the page names", err=True)
    if findings.gaps:
        raise typer.Exit(INCOMPLETE)
