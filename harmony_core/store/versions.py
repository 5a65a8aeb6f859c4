"""Versions of tables, and which of them are read.

A table's version is major.minor, in its schema's metadata and so in every file. A minor version adds columns, which say
since when they are there (`schemas.column`); files from before it are read as if they had them. A major version
changes what is there, and its files are not read by another: `harmony migrate` writes them anew.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from harmony_core.errors import UserError

MIGRATE = "`harmony migrate OLD NEW` writes the search to a new folder in this version's format"
NEWER = "a newer HARMONY wrote it; use that one"

VERSION, SINCE, BEFORE = b"version", b"since", b"before"
# Files had this key before each table got a version of its own.
_OF_ALL = b"format_version"


class Version(NamedTuple):
    """A table's version; text is `3.1`."""

    major: int
    minor: int

    @classmethod
    def parse(cls, text: str) -> Version | None:
        """The version that a text names; None if it names none."""
        match = re.fullmatch(r"(\d{1,6})\.(\d{1,6})", text, re.ASCII)
        return None if match is None else cls(int(match[1]), int(match[2]))

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


def version_of(schema: pa.Schema) -> Version | None:
    """A table's version by its metadata; None where that tells none, as damaged metadata may."""
    told = schema.metadata or {}
    return Version.parse(told.get(VERSION, b"").decode("ascii", "replace"))


def _written(found: pa.Schema, wanted: Version) -> Version | None:
    """The version of a file's table; None where it tells none."""
    told = found.metadata or {}
    if VERSION in told:
        return version_of(found)
    parsed = Version.parse(told.get(_OF_ALL, b"").decode("ascii", "replace") + ".0")
    # A plug-in's table counts its own versions from 1; before, it had the format's.
    return None if parsed is None or parsed > wanted else parsed


def added_columns(path: Path | str, found: pa.Schema, schema: pa.Schema) -> list[pa.Field]:
    """The columns of `schema` that a file lacks since it is of an earlier minor version.

    Args:
        path: the file.
        found: its schema.
        schema: the one that it is read by.

    Raises:
        UserError: the file is of another major version, or of a newer minor one.
    """
    wanted = version_of(schema)
    written = None if wanted is None else _written(found, wanted)
    # A file without a version is such a table if its columns say so.
    if written is None or wanted is None:
        return []
    if written.major != wanted.major or written > wanted:
        name = (schema.metadata or {}).get(b"table", b"unnamed").decode()
        fix = NEWER if written > wanted else MIGRATE
        raise UserError(str(path), f"{name} table of version {written}; this HARMONY reads {wanted}", fix)
    return [field for field in schema if _since(field) > written and field.name not in found.names]


def value_before(field: pa.Field) -> Any:
    """What a column holds in files from before it."""
    told = (field.metadata or {}).get(BEFORE)
    return None if told is None else json.loads(told)


def completed(row: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """A row that an earlier minor version may have left in a journal, with the columns that were added since."""
    added = {field.name: value_before(field) for field in schema if SINCE in (field.metadata or {})}
    return {**added, **row}


def check_added(columns: list[pa.Field], version: str) -> None:
    """Refuses a schema whose readers could not read files of its earlier minor versions.

    Raises:
        ValueError: the version is none, or a column that was added has no value for files from before it.
    """
    parsed = Version.parse(version)
    if parsed is None:
        raise ValueError(f"version {version!r}: use major.minor")
    for field in columns:
        since = _since(field)
        if since == Version(0, 0):
            continue
        if since.major != parsed.major or since > parsed:
            raise ValueError(f"column {field.name}: since {since}, but the table's version is {version}")
        if not field.nullable and value_before(field) is None:
            raise ValueError(f"column {field.name}: no value in files from before {since}; give one, or allow null")


def _since(field: pa.Field) -> Version:
    told = (field.metadata or {}).get(SINCE, b"0.0").decode()
    parsed = Version.parse(told)
    if parsed is None:
        raise ValueError(f"column {field.name}: since {told!r}: use major.minor")
    return parsed
