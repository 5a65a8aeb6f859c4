"""What is said, and what is not, once a person or a machine has told Snakemake to stop."""

from logging import LogRecord
from pathlib import Path
from signal import Signals
from typing import Any

# Snakemake says this when it has heard the signal; to end the jobs may take a while.
_HEARD = ("Terminating processes on user request", "Will exit after finishing currently running jobs")
# Snakemake says this of jobs that failed because they were ended.
_CONSEQUENCE = "At least one job did not complete successfully"
_HOW = {Signals.SIGINT: "stopped by Ctrl-C", Signals.SIGHUP: "stopped: the terminal was closed (SIGHUP)"}


def is_said_after(record: LogRecord) -> bool:
    """Whether a record is still shown after the signal: not that jobs failed, since they were ended."""
    text = record.getMessage()
    if record.levelname in ("WARNING", "ERROR", "CRITICAL"):
        return _CONSEQUENCE not in text
    return text.startswith(_HEARD)


def last_line(by: Signals, folder: Path | None) -> str:
    """What is done, and how to go on.

    Args:
        by: the signal that told Snakemake to stop.
        folder: the search's or sweep's; None if nothing of it was begun.
    """
    how = _HOW.get(by, f"stopped by {by.name}")
    if folder is None:
        return f"{how}; nothing was begun"
    from harmony_core.store.folder import SWEEP_FILE

    if (folder / SWEEP_FILE).is_file():
        return f"{how}; the same command goes on"
    return f"{how}: {_done(folder)}; `harmony resume {folder.name}` goes on"


def _done(folder: Path) -> str:
    from harmony_core.errors import UserError
    from harmony_core.progress import ProgressReader
    from harmony_core.store import SearchFolder

    try:
        progress = ProgressReader(SearchFolder(folder)).read()
    except (UserError, OSError) as error:
        return f"how far it came cannot be read ({error})"
    finished = sum(one.finished for one in progress.generations)
    trained = sum(one.done for one in progress.stages)
    return f"{_count(finished, 'generation')} and {_count(trained, 'training')} done"


def _count(number: Any, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
