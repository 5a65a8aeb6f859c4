"""An append-only file of JSON lines that survives a kill at any moment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from harmony_core.atomic import no_space
from harmony_core.errors import UserError


class Journal:
    """Records on disk, in order; one that `append` has returned from is never lost.

    A line counts once its newline is there. A last line that a kill cut short is passed over by
    `records` and cut off before the next `append`. One process writes; any may read.

    Args:
        path: the file; it and its folder are made by the first `append`.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self._descriptor: int | None = None

    def append(self, record: dict[str, Any]) -> None:
        """Adds one record (any JSON object) and waits until it is on the disk.

        Raises:
            UserError: the disk is full (the journal is as before), or the file is damaged.
        """
        line = _line(record)
        descriptor = self._open()
        end = os.lseek(descriptor, 0, os.SEEK_END)
        try:
            # One call a line: lines are never interleaved, and at most the last one is torn.
            written = os.write(descriptor, line)
            if written < len(line):
                # A disk that fills up takes a part and says why only when asked for the rest.
                os.write(descriptor, line[written:])
            os.fsync(descriptor)
        except OSError as error:
            os.ftruncate(descriptor, end)
            raise no_space(self.path, error) from error

    def records(self) -> list[dict[str, Any]]:
        """All records in order; an absent file has none.

        Raises:
            UserError: a line before the last is not a JSON object.
        """
        return self._read()[0]

    def close(self) -> None:
        """Ends appending; the journal may be appended to again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

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
            content = self.path.read_bytes()
        except FileNotFoundError:
            return [], 0
        records: list[dict[str, Any]] = []
        whole = 0
        lines = content.splitlines(keepends=True)
        for index, line in enumerate(lines):
            record = _parse(line)
            if record is None:
                if index == len(lines) - 1:
                    break
                fix = "move the file away; what it recorded is done again"
                raise UserError(str(self.path), f"line {index + 1} is not a JSON record", fix)
            records.append(record)
            whole += len(line)
        return records, whole


def _line(record: dict[str, Any]) -> bytes:
    # NaN is let through (Python reads it back): a loss that diverged is a result like another.
    return json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any] | None:
    """The record of a whole line; None for a torn or damaged one."""
    if not line.endswith(b"\n"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None
