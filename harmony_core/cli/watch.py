"""`harmony watch`: how far a search is, from any shell that sees its files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from harmony_core.errors import UserError
from harmony_core.progress import ProgressReader, read_waiting
from harmony_core.store import SearchFolder, missing_lines
from harmony_core.terminal.display import Display
from harmony_core.workflow import main_lease


def watch(
    search: Annotated[Path, typer.Argument(help="Folder of the search, or its name under results/.")],
    once: Annotated[bool, typer.Option("--once", help="Print how far it is, and end.")] = False,
) -> None:
    """Shows how far a search is and what each training under way does, until it ends or Ctrl-C.

    The search does not notice.
    """
    folder = find(search)
    try:
        _watch(folder, once)
    except KeyboardInterrupt:
        # Ctrl-C is the way to leave.
        return
    except OSError as error:
        raise UserError("search", folder.path, f"{error}; look again, or ask whose it is") from None


def _watch(folder: SearchFolder, once: bool) -> None:
    asked = cost = float("-inf")
    with Display(ProgressReader(folder), Console(), is_one_look=once) as display:
        while True:
            began = time.monotonic()
            # To ask may take as long as a holder on another host needs to give a sign of life, so this asks rarely.
            if began - asked >= 10 * cost:
                # This comes before reading: a search that ends in between is then finished, and not abandoned.
                runner = holder(folder)
                asked = time.monotonic()
                cost = asked - began
            # The process that ran the search may have been killed before it could remove its note.
            display.note = None if runner is None else read_waiting(folder)
            progress = display.update()
            if once or progress.finished or runner is None:
                break
            time.sleep(display.pause)
    if progress.manifest is not None:
        for line in missing_lines(folder):
            display.print(line)
    if progress.finished:
        return
    if progress.manifest is None:
        display.print(f"search {folder.name}: its data is not prepared yet")
    if progress.manifest is not None and progress.manifest.migrated_from is not None:
        display.print(f"search {folder.name}: `harmony resume {folder.name}` says why it ends here")
    elif runner is None:
        display.print(f"nobody runs it (what it had begun may go on); `harmony resume {folder.name}` goes on with it")
    else:
        display.print(f"run by {runner}")


def holder(folder: SearchFolder) -> str | None:
    """Who runs a search; None if nobody."""
    held = main_lease(folder).holder()
    return None if held is None else held.holder


def find(search: Path) -> SearchFolder:
    """The folder of a search, which may have been started a moment ago and have no manifest yet.

    Raises:
        UserError: there is no such search.
    """
    for path in (search, Path("results") / search):
        folder = SearchFolder(path)
        if folder.main.is_file():
            return folder
    return SearchFolder.find(search)
