"""What was added to a journal that another process writes, maybe on another host."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

# `Journal` writes a training's answer with its keys sorted: first the curve, which is most of it, then the row.
_CURVE, _ROW = b'{"answer":{"curve":[', b'],"row":{'


class JournalTail:
    """Reads each record of a journal once.

    A line counts once its newline is there; one that is no record, by whatever damage, is passed over:
    it is for those who work with the journal to complain of.

    Args:
        path: the journal; it may appear later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[dict[str, Any]]:
        """The records since the last call, without the training curves."""
        try:
            file = self._path.open("rb")
        except FileNotFoundError:
            return []
        records = []
        with file:
            if os.fstat(file.fileno()).st_size < self._offset:
                # Another journal has replaced this one.
                self._offset = 0
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                record = _parse(line)
                if record is not None:
                    records.append(record)
        return records


def _parse(line: bytes) -> dict[str, Any] | None:
    if line.startswith(_CURVE) and (end := line.find(_ROW)) > 0:
        # Parsing a long curve takes 20 times as long as all the rest.
        line = b'{"answer":{' + line[end + 2 :]
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None
