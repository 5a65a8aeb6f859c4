"""Reads CSV (RFC 4180, whose first line names the columns) and the same with tabs."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Literal

from harmony_core.data.corpus import Document
from harmony_core.data.encoding import utf8_lines
from harmony_core.data.records import Reading, column_number, short
from harmony_core.errors import UserError

# A quote that is never closed would make one field of the rest of the file.
_FIELD_CHARACTERS = 2**26


def csv_documents(blocks: Iterable[bytes], form: Literal["csv", "tsv"], reading: Reading) -> Iterator[Document]:
    """The texts of a table, one row after another.

    Args:
        blocks: the file's bytes, decompressed.
        form: what stands between two fields: a comma or a tab.
        reading: of the file.

    Raises:
        UserError: the first line does not name the column, or (from `reading.bad`) a row has another number of fields
            or is no CSV.
    """
    csv.field_size_limit(_FIELD_CHARACTERS)
    columns: list[str] | None = None
    column = before = line = 0

    def lines() -> Iterator[str]:
        nonlocal line
        for line, text in utf8_lines(blocks, reading.where, reading.bad):  # noqa: B007 - read outside
            yield f"{text.decode()}\n"

    rows = csv.reader(lines(), delimiter="," if form == "csv" else "\t", strict=True)
    while True:
        try:
            row = next(rows)
        except StopIteration:
            break
        except csv.Error as error:
            fix = "quote what has commas, quotes or line ends in it, and close each quote"
            reading.bad(UserError(f"{reading.where}:{before + 1}", str(error), fix))
            row = []
        # A record may be several lines long; it is called by its first.
        number, before = before + 1, line
        if columns is None and row:
            columns, column = row, column_number(row, row, reading)
        elif columns is not None and len(row) == len(columns):
            yield Document(f"{reading.name}:{number}", row[column].encode())
        elif columns is not None and row:
            found = f"{len(row)} field(s) where the first line has {len(columns)}: {short(row[0])}"
            fix = "quote what has commas or line ends in it"
            reading.bad(UserError(f"{reading.where}:{number}", found, fix))
    if columns is None:
        raise UserError(reading.where, "an empty file", "a first line that names the columns is needed")
