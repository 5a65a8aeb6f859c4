"""Reads one file of a corpus, whatever its kind; every way it can be wrong is told in one line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from harmony_core.data.compression import decompress
from harmony_core.data.corpus import Document
from harmony_core.data.csvfile import csv_documents
from harmony_core.data.encoding import shown, utf8_blocks
from harmony_core.data.jsonfile import json_documents
from harmony_core.data.kinds import Kind
from harmony_core.data.longtext import text_of
from harmony_core.data.records import Reading
from harmony_core.data.tablefile import table_documents
from harmony_core.errors import UserError

_BLOCK_BYTES = 2**20


def read_blocks(path: Path) -> Iterator[bytes]:
    """The file as it is on disk, in blocks.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block
    except OSError as error:
        raise UserError(shown(path), error.strerror, "name a file that exists and is readable") from None


def file_documents(path: Path, kind: Kind, reading: Reading) -> Iterator[Document]:
    """The documents of a file: a text is one, and so is each record of JSON and each row of a table.

    Args:
        path: the file.
        kind: how it is read.
        reading: of the file.

    Raises:
        UserError: it cannot be read, decompressed or decoded, or (from `reading.bad`) a record has no text.
    """
    if kind.form == "parquet" or kind.form == "arrow":
        return table_documents(path, kind.form, reading)
    return documents_in(lambda: read_blocks(path), kind, reading)


def documents_in(blocks: Callable[[], Iterable[bytes]], kind: Kind, reading: Reading) -> Iterator[Document]:
    """The documents of a file's bytes; not of a Parquet or Arrow file, which is not read from start to end.

    Args:
        blocks: gives the file as it is on disk.
        kind: how it is read.
        reading: of the file.
    """
    if kind.compression:
        packed, compression = blocks, kind.compression
        blocks = lambda: decompress(packed(), compression, reading.where)  # noqa: E731
    if kind.form == "text":
        with text_of(utf8_blocks(blocks(), reading.where)) as text:
            yield Document(reading.name, text)
    elif kind.form == "csv" or kind.form == "tsv":
        yield from csv_documents(blocks(), kind.form, reading)
    else:
        yield from json_documents(blocks, kind.form == "jsonl", reading)
