"""Rows to Parquet and back, checked against a schema both ways."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from harmony_core.atomic import refusal, replacing
from harmony_core.errors import UserError
from harmony_core.store.schemas import is_own_metric
from harmony_core.store.versions import added_columns, value_before

Row = Mapping[str, Any]

DAMAGED = "move the file away; `harmony resume` makes it again"
MISSING = "`harmony resume` makes what is missing"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write_table(path: Path | str, rows: Iterable[Row], schema: pa.Schema) -> None:
    """Checks `rows` against `schema` and writes them atomically; equal rows give equal bytes.

    Args:
        path: the Parquet file; its folder is made.
        rows: one mapping a row, with every column of the schema and no other.
        schema: one of `harmony_core.store.schemas`.

    Raises:
        ValueError: a column is missing or unknown, a value has the wrong type, is none of the values
            allowed, or is null where the schema has none.
        UserError: the disk is full.
    """
    write_arrow(path, to_arrow(rows, schema))


def write_arrow(path: Path | str, content: pa.Table) -> None:
    """Writes a table atomically, whose rows nobody checks; UserError where the disk is full."""
    with replacing(path) as temporary:
        # Pages carry checksums, so that a flipped bit is an error and not a result.
        pq.write_table(content, temporary, compression="zstd", write_page_checksum=True)


def to_arrow(rows: Iterable[Row], schema: pa.Schema) -> pa.Table:
    """The rows as a table of `schema`; ValueError as in `write_table`."""
    listed = list(rows)
    expected = set(schema.names)
    for index, row in enumerate(listed):
        if row.keys() != expected:
            missing, unknown = sorted(expected - row.keys()), sorted(row.keys() - expected)
            raise ValueError(f"row {index} of {_name(schema)}: missing {missing}, unknown {unknown} columns")
    arrays = [_array([row[field.name] for row in listed], field, schema) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def read_table(path: Path | str, schema: pa.Schema, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Reads a file (or some of its columns) and checks it: schema, nullability, every page's checksum.

    Metrics of the search's own (`schemas.with_metrics`) are read with it. A file of an earlier minor version is read
    as if it had the columns that were added since (`store.versions`).

    Args:
        path: the Parquet file.
        schema: the one that it should have, one of `schemas`.
        columns: those that are read, in the schema's order; None is all.

    Raises:
        UserError: the file is missing, damaged, of another schema, or of a version that is not read.
    """
    # This is the schema as it should be: a file's own may hold damaged metadata, which no checksum covers.
    wanted = pa.schema([field for field in schema if columns is None or field.name in columns])
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            added = added_columns(path, file.schema_arrow, schema)
            own = _check_schema(path, file.schema_arrow, schema, added)
            wanted = pa.schema([*wanted, *(field for field in own if columns is None or field.name in columns)])
            stored = [field.name for field in wanted if field not in added]
            content = file.read(stored).select(stored)
            if len(content) != file.metadata.num_rows:
                # No checksum covers the list of row groups; damage to it may leave fewer.
                raise UserError(str(path), f"{len(content)} of its {file.metadata.num_rows} rows", DAMAGED)
        table = pa.Table.from_arrays(_columns(content, wanted, file.metadata.num_rows), schema=wanted)
        # Damage in a checksum's own place may leave wrong lengths and text without an error.
        table.validate(full=True)
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(str(path), "no such file", MISSING) from None
    except OSError as error:
        # Parquet raises its own complaints as OSErrors too, without a number.
        if error.errno is not None:
            # A disk or a server fails here; the file may be whole.
            raise refusal(OSError(error.errno, os.strerror(error.errno), str(path))) from None
        raise UserError(str(path), _first_line(error), DAMAGED) from None
    except (pa.ArrowException, ValueError, LookupError, OverflowError, MemoryError) as error:
        raise UserError(str(path), _first_line(error), DAMAGED) from None
    return frame(table)


def _columns(content: pa.Table, wanted: pa.Schema, num_rows: int) -> list[pa.Array | pa.ChunkedArray]:
    """The columns of a file in order, those that it has not as files from before them are read."""
    return [
        content[field.name]
        if field.name in content.column_names
        else pa.repeat(pa.scalar(value_before(field), field.type), num_rows)
        for field in wanted
    ]


def _check_schema(path: Path | str, found: pa.Schema, schema: pa.Schema, added: Sequence[pa.Field]) -> list[pa.Field]:
    """The metrics that a search has beside the schema's columns; UserError for a file of another schema."""
    own = [field for field in found if is_own_metric(field) and field.name not in schema.names]
    found = pa.schema([field for field in found if field not in own])
    if found.equals(pa.schema([field for field in schema if field not in added])):
        return own
    extra = ", ".join(str(field) for field in found if field not in list(schema)) or "nothing else"
    lacking = ", ".join(str(field) for field in schema if field not in list(found)) or "nothing"
    value = f"not a {_name(schema)} table of this version (has {extra}; lacks {lacking})"
    raise UserError(str(path), value, DAMAGED)


def frame(content: pa.Table) -> pl.DataFrame:
    """The same table in Polars."""
    converted = pl.from_arrow(content)
    assert isinstance(converted, pl.DataFrame)
    return converted


def empty(schema: pa.Schema) -> pl.DataFrame:
    """A frame of this schema without rows."""
    # Arrow's own empty table, and arrays of lists, import pandas, which takes longer than all else that is asked.
    return frame(pa.Table.from_arrays([pa.nulls(0, field.type) for field in schema], schema=schema))


def _array(values: list[Any], field: pa.Field, schema: pa.Schema) -> pa.Array:
    allowed = (field.metadata or {}).get(b"values", b"").decode()
    choices = frozenset(allowed.split("|")) if allowed else None
    converted = []
    for index, value in enumerate(values):
        try:
            converted.append(_convert(value, field, choices))
        except ValueError as error:
            raise ValueError(f"row {index} of {_name(schema)}: {field.name} is {value!r}: {error}") from None
    # By way of Polars, for the same reason as in `empty`; of instants it makes numbers first.
    kind = pl.Int64 if pa.types.is_timestamp(field.type) else empty(pa.schema([field])).schema[field.name]
    try:
        return pl.Series(field.name, converted, kind, strict=True).to_arrow().cast(field.type)
    except (TypeError, OverflowError, pl.exceptions.PolarsError) as error:
        raise ValueError(f"{_name(schema)}: {field.name}: {_first_line(error)}") from None


def _convert(value: Any, field: pa.Field, choices: frozenset[str] | None) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None:
        if not field.nullable:
            raise ValueError("null is not allowed here")
        return None
    kind = field.type
    if pa.types.is_integer(kind):
        return _require(value, int, "a whole number")
    if pa.types.is_floating(kind):
        return float(_require(value, (int, float), "a number"))
    if pa.types.is_boolean(kind):
        if not isinstance(value, bool):
            raise ValueError("use True or False")
        return value
    if pa.types.is_timestamp(kind):
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise ValueError("use a datetime with a time zone")
        return (value - _EPOCH) // timedelta(microseconds=1)
    if pa.types.is_list(kind):
        return [_convert(item, kind.value_field, None) for item in _require(value, (list, tuple), "a list")]
    if pa.types.is_struct(kind):
        if not isinstance(value, Mapping) or value.keys() != {part.name for part in kind}:
            raise ValueError(f"use a mapping of {', '.join(part.name for part in kind)}")
        return {part.name: _convert(value[part.name], part, None) for part in kind}
    if choices is not None and value not in choices:
        raise ValueError(f"use one of {', '.join(sorted(choices))}")
    return _require(value, str, "text")


def _require(value: Any, kinds: type | tuple[type, ...], meaning: str) -> Any:
    # Python's bool is an int, and nobody means it where a number is asked for.
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ValueError(f"use {meaning}")
    return value


def _name(schema: pa.Schema) -> str:
    return str((schema.metadata or {}).get(b"table", b"unnamed").decode())


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
