"""Compares a migrated search with the one that it was made from."""

from __future__ import annotations

import filecmp
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from harmony_core.architecture import Architecture
from harmony_core.errors import UserError
from harmony_core.migration.pieces import Piece, pieces
from harmony_core.migration.rows import TODAY
from harmony_core.migration.version2 import TABLES
from harmony_core.migration.write import migrated_record
from harmony_core.store.journal import line_of, parse
from harmony_core.store.table import read_table


def verify(source: Path, destination: Path, written: Sequence[Piece]) -> int:
    """Reads everything again, and answers with how many rows there are.

    Args:
        source: folder of the search.
        destination: folder of the migrated one.
        written: the files that were migrated.

    Raises:
        UserError: a value, an id or a copied file is not as in the source, or the source has changed meanwhile.
    """
    if list(pieces(source)) != list(written):
        raise UserError(str(source), "files came or went while it was migrated", "let nobody work on it; migrate again")
    return sum(_verify(piece, source / piece.path, destination / piece.path) for piece in written)


def _verify(piece: Piece, old: Path, new: Path) -> int:
    if piece.fate == "table":
        return _verify_table(piece.table, old, new)
    if piece.fate == "journal":
        records = parse(old.read_bytes())[0]
        _require(b"".join(line_of(migrated_record(piece.table, one)) for one in records) == new.read_bytes(), old, new)
    elif piece.fate == "copy":
        _require(filecmp.cmp(old, new, shallow=False), old, new)
    return 0


def _verify_table(table: str, old: Path, new: Path) -> int:
    before, after = read_table(old, TABLES[table]), read_table(new, TODAY[table])
    _require(after.select(before.columns).equals(before), old, new)
    if table == "population":
        _verify_ids(new, after)
    return before.height


def _verify_ids(path: Path, population: pl.DataFrame) -> None:
    """Compares the ids with what today's HARMONY computes for the same architectures."""
    for architecture_id, text in population.select("architecture_id", "architecture").iter_rows():
        found = Architecture.from_json(text).id
        if found != architecture_id:
            fix = f"this HARMONY computes {found} for its architecture; report that, and keep the original"
            raise UserError(str(path), f"architecture_id {architecture_id}", fix)


def _require(is_equal: bool, old: Path, new: Path) -> None:
    if not is_equal:
        fix = "delete the new folder and migrate again, while nobody works on the original"
        raise UserError(str(new), f"not what {old} holds", fix)
