"""Writes one file of a search anew, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

from harmony_core.atomic import atomic_write, replacing
from harmony_core.base import read_yaml
from harmony_core.migration.configuration import migrated_start
from harmony_core.migration.pieces import Piece
from harmony_core.migration.rows import TODAY, migrated_row
from harmony_core.migration.version2 import TABLES
from harmony_core.store.journal import line_of, parse
from harmony_core.store.table import read_table, write_table

Json = dict[str, Any]


def write_piece(piece: Piece, source: Path, destination: Path, config: Json) -> None:
    """Writes a file of the search, unless that was done before.

    Args:
        piece: which; none that is left out.
        source: folder of the search.
        destination: folder of the migrated one.
        config: the migrated configuration.

    Raises:
        UserError: the file is damaged, or the disk is full.
    """
    old, new = source / piece.path, destination / piece.path
    if not new.exists():
        if piece.fate == "table":
            rows = read_table(old, TABLES[piece.table]).to_dicts()
            write_table(new, [migrated_row(piece.table, row) for row in rows], TODAY[piece.table])
        elif piece.fate == "journal":
            records, _, _ = parse(old.read_bytes())
            atomic_write(new, b"".join(line_of(migrated_record(piece.table, one)) for one in records))
        elif piece.fate == "start":
            told = migrated_start(read_yaml(old) or {}, config)
            atomic_write(new, json.dumps(told, indent=2).encode() + b"\n")
        else:
            with replacing(new) as temporary:
                shutil.copyfile(old, temporary)
    same_time(old, new)


def same_time(old: Path, new: Path) -> None:
    """Gives a file the time of the one that it was made from: Snakemake asks what is newer than what."""
    found = old.stat()
    os.utime(new, ns=(found.st_atime_ns, found.st_mtime_ns))


def migrated_record(table: str, record: Json) -> Json:
    """A journal's record with the rows of its answer as they are today."""
    answer = record.get("answer")
    if record.get("event") != "final" or not isinstance(answer, dict):
        return record
    changed = dict(answer)
    try:
        if "row" in answer:
            changed["row"] = migrated_row(table, answer["row"])
        if "rows" in answer:
            changed["rows"] = [migrated_row(table, row) for row in answer["rows"]]
    except (KeyError, TypeError):
        # This is no answer to a task; whoever reads the journal skips it.
        return record
    return {**record, "answer": changed}
