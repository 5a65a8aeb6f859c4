"""Follows a search while Snakemake runs it."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from harmony_core.terminal.display import Display

_END_SECONDS = 30.0


class Follower:
    """A thread that reads the search's files and shows what is new.

    Args:
        folder: the search's.
        console: where it is shown.
    """

    def __init__(self, folder: Path, console: "Console") -> None:
        self._folder, self._console = folder, console
        # This happens before all is imported: a small generation may have come and gone by then.
        self._old = frozenset(folder.glob("generation=*/selection.parquet"))
        self._wake, self._ended = threading.Event(), threading.Event()
        self._complaint = ""
        self._thread = threading.Thread(target=self._run, name="harmony-progress", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Something has happened: looks sooner than it would."""
        self._wake.set()

    def end(self) -> None:
        """Shows the last of it; returns when the terminal is as it should be."""
        self._ended.set()
        self._wake.set()
        # A shared file system may take long, but not for ever.
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        from harmony_core.progress import ProgressReader
        from harmony_core.store import SearchFolder
        from harmony_core.terminal.display import Display

        with Display(ProgressReader(SearchFolder(self._folder), self._old), self._console) as display:
            while not self._ended.is_set():
                self._update(display)
                self._wake.wait(display.pause)
                self._wake.clear()
                self._ended.wait(display.least_pause)
            self._update(display)

    def _update(self, display: "Display") -> None:
        from harmony_core.errors import UserError

        try:
            display.update()
        except (UserError, OSError) as error:
            # The run does not depend on this, and a shared file system may come back.
            if str(error) != self._complaint:
                self._complaint = str(error)
                display.print(f"progress: {error}", style="yellow")
