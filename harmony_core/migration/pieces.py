"""The files of a search, and what becomes of each when it is migrated."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from harmony_core.migration.version2 import TABLES
from harmony_core.store.folder import CONFIG_FILE, SearchFolder

# The manifest is written last, so that a folder is a search only when it is whole.
MANIFEST = "manifest.json"
MARKER = SearchFolder("").migration.name
_JOURNAL = "journal.jsonl"
_LOGS = ("work", "logs")

Fate = Literal["table", "journal", "start", "copy", "left out"]


@dataclasses.dataclass(frozen=True)
class Piece:
    """One file of a search.

    Args:
        path: within the search's folder.
        fate: `table` and `journal` hold rows and are written anew, as is `start`, the newest configuration; `copy` is
            copied as it is; `left out` is who works on it, and what only going on would need.
        table: whose rows it holds.
    """

    path: Path
    fate: Fate
    table: str = ""


def pieces(folder: Path) -> Iterator[Piece]:
    """Every file of a search but its manifest, in order; what a kill left half-written is none."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not (path.name.startswith(".") and path.suffix == ".tmp"):
            piece = _piece(path.relative_to(folder))
            if piece.path != Path(MANIFEST):
                yield piece


def _piece(path: Path) -> Piece:
    parts = path.parts
    if parts[0] == "work":
        if path == Path(CONFIG_FILE):
            return Piece(path, "start")
        if path.name == _JOURNAL and parts[1] in TABLES:
            return Piece(path, "journal", parts[1])
        return Piece(path, "copy" if parts[:2] == _LOGS else "left out")
    # Tables of a generation's shards lie in a folder of their name.
    table = path.parent.name if path.name.startswith("shard=") else path.stem
    if path.suffix == ".parquet" and table in TABLES:
        return Piece(path, "table", table)
    return Piece(path, "copy")
