"""An append-only file of JSON lines that survives a kill at any moment."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from harmony_core.atomic import no_space, patiently


class Journal:
    """Records on disk, in order; one that `append` has returned from is never lost.

    A line counts once its newline is there. A last line that a kill cut short is passed over by
    `records` and cut off before the next `append`. Other lines that are no records are passed over, and said on
    standard error. One process writes; any may read.

    Args:
        path: the file; it and its folder are made by the first `append`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None
        self._told = False

    def append(self, record: dict[str, Any]) -> None:
        """Adds one record (any JSON object) and waits until it is on the disk.

        A file that was deleted meanwhile is begun anew, and that is said.

        Raises:
            UserError: the disk is full; the journal is as before.
        """
        line = line_of(record)
        end = patiently(self._end)
        patiently(lambda: self._write(line, end))

    def _end(self) -> int:
        """Where the file ends."""
        descriptor = self._open()
        if os.fstat(descriptor).st_nlink == 0:
            told = f"warning: {self.path} was deleted; what it recorded before would be done again"
            print(told, file=sys.stderr, flush=True)
            self.close()
            descriptor = self._open()
        return os.lseek(descriptor, 0, os.SEEK_END)

    def _write(self, line: bytes, end: int) -> None:
        descriptor = self._open()
        # An earlier try may have left its line, or a part of it.
        if os.lseek(descriptor, 0, os.SEEK_END) > end:
            os.ftruncate(descriptor, end)
        try:
            # One call writes the whole line: lines never interleave, and at most the last one is torn.
            written = os.write(descriptor, line)
            if written < len(line):
                # A disk that fills up takes a part, and says why only when it is asked for the rest.
                os.write(descriptor, line[written:])
            os.fsync(descriptor)
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, end)
            # A handle that the file system has forgotten does not come back, so the next line opens the file anew.
            self.close()
            raise no_space(self.path, error) from error

    def records(self) -> list[dict[str, Any]]:
        """All records in order; an absent file has none."""
        return self._read()[0]

    def close(self) -> None:
        """Ends appending; the journal may be appended to again."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read()[1]
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            os.ftruncate(self._descriptor, whole)
            folder = os.open(self.path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
        return self._descriptor

    def _read(self) -> tuple[list[dict[str, Any]], int]:
        """The records, and how many bytes of the file they take."""
        try:
            content = patiently(self.path.read_bytes)
        except FileNotFoundError:
            return [], 0
        records, damaged, whole = parse(content)
        if damaged and not self._told:
            self._told = True
            which = (
                f"line {damaged[0]} holds" if len(damaged) == 1 else f"{len(damaged)} lines from {damaged[0]} on hold"
            )
            told = f"warning: {self.path}: {which} no record, passed over; what was recorded there is done again"
            print(told, file=sys.stderr, flush=True)
        return records, whole


def parse(content: bytes) -> tuple[list[dict[str, Any]], list[int], int]:
    """What a journal's bytes hold.

    Returns:
        The records; the numbers of the lines that are none, from 1, the last one left out; and how many bytes there
        are without that, which may be torn.
    """
    lines = content.splitlines(keepends=True)
    parsed = [_parse(line) for line in lines]
    torn = len(lines[-1]) if parsed and parsed[-1] is None else 0
    damaged = [index + 1 for index, record in enumerate(parsed) if record is None]
    return [one for one in parsed if one is not None], damaged[: len(damaged) - (torn > 0)], len(content) - torn


def line_of(record: dict[str, Any]) -> bytes:
    """A record as a journal holds it."""
    # JSON of Python holds NaN: a loss that diverged is a result like any other.
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record of a whole line; None for a torn or damaged one."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
