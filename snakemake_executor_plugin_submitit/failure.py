"""Why a job failed, in words for its user."""

from pathlib import Path

from .backend import Done, Lost


def explain(status: Done | Lost, log: Path, resubmissions: int, with_tail: bool) -> tuple[str, list[str]]:
    """Say why a job failed.

    Args:
        status: How it ended.
        log: What its command printed; may be absent.
        resubmissions: How often it was submitted again before.
        with_tail: Whether to repeat the log's last lines.

    Returns:
        The message, and the files worth reading.
    """
    logs = [str(log)] if log.exists() else []
    if isinstance(status, Lost):
        return f"{status.why}\n", [*logs, *status.logs]
    again = f" in its last of {resubmissions + 1} submissions" if resubmissions else ""
    words = f"exit code {status.rc}{again} on {status.host} after {status.seconds:.0f} s; log {log}"
    if not status.tail:
        words += ", which is empty"
    elif with_tail:
        words += f", which ends with:\n{status.tail}"
    return f"{words}\n", logs
