"""A frame as people and programs read it: a table that fits the terminal, JSON with a version, CSV.

Whatever is in it is text: no markup, no control character and no direction mark reaches a terminal.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from harmony_core.metrics import METRICS
from harmony_core.terminal.format import value_text

# Of the JSON's envelope: the first number rises when something in it goes or changes, the second when something is
# added.
JSON_VERSION = "1.1"
# Between two columns.
_GAP = 2


@dataclass(frozen=True)
class Column:
    """How a column is shown.

    Args:
        name: of the frame's column; of none where `cell` reads several.
        heading: above it.
        cell: its text of a row; None is the value's own.
        is_text: whether it stands to the left.
        wraps: whether it may take several lines, cut between words.
    """

    name: str
    heading: str
    cell: Callable[[Mapping[str, Any]], str] | None = None
    is_text: bool = False
    wraps: bool = False


def column(name: str, kind: pl.DataType) -> Column:
    """How any column is shown: a metric as it is declared, everything else as it is."""
    declared = METRICS.get(name)
    if declared is not None:
        return Column(name, declared.heading, lambda row: value_text(declared, row[name]))
    return Column(name, name, is_text=not kind.is_numeric(), wraps=kind in (pl.String, pl.List))


def plain(text: str) -> str:
    """Text in which no character does anything: those that are not printed are written as Python writes them."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def value_of(value: Any) -> str:
    """A value in a table or in CSV."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return plain(" ".join(value))
    return plain(str(_jsonable(value)) if not isinstance(value, list | dict) else json.dumps(_jsonable(value)))


def table(rows: pl.DataFrame, columns: Sequence[Column], width: int | None) -> tuple[Table, list[str]]:
    """The rows as a table of as many columns as fit, first ones first, and the headings of those that do not.

    Args:
        rows: of which all are shown.
        columns: in order.
        width: characters of a line; None is as many as are needed.
    """
    kept: list[tuple[Column, list[str]]] = []
    left_out: list[str] = []
    widths: list[int] = []
    room = math.inf if width is None else width + _GAP
    for one in columns:
        texts = [_cell(one, row) for row in rows.iter_rows(named=True)]
        least = max(_least(one.heading, wraps=True), *(_least(text, one.wraps) for text in texts), 0)
        if left_out or (kept and least + _GAP > room):
            left_out.append(one.heading)
            continue
        room -= least + _GAP
        kept.append((one, texts))
        widths.append(least)
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    # Rich would take from every column alike, and break words for it.
    for number, (one, texts) in sorted(enumerate(kept), key=lambda pair: pair[1][0].wraps):
        whole = max(cell_len(text) for text in (plain(one.heading), *texts))
        added = max(0, min(whole - widths[number], room))
        widths[number] += int(added)
        room -= added
    for (one, _), given in zip(kept, widths, strict=True):
        heading = Text(plain(one.heading))
        made.add_column(heading, justify="left" if one.is_text else "right", overflow="fold", width=given)
    for row in zip(*(texts for _, texts in kept), strict=True):
        made.add_row(*(Text(text) for text in row))
    return made, left_out


def _cell(one: Column, row: Mapping[str, Any]) -> str:
    return value_of(row[one.name]) if one.cell is None else plain(one.cell(row))


def _least(text: str, wraps: bool) -> int:
    """The least width at which a text's words stay whole."""
    return max((cell_len(word) for word in text.split()), default=0) if wraps else cell_len(text)


def to_json(name: str, rows: pl.DataFrame, **told: Any) -> str:
    """The rows in an envelope that says what they are.

    Args:
        name: what was asked, such as `top`: the schema is `harmony.top`.
        rows: each becomes an object; numbers that JSON has not, infinities among them, become null.
        told: what is said beside the rows.
    """
    content = {"schema": f"harmony.{name}", "version": JSON_VERSION, **told, "columns": rows.columns}
    content["rows"] = rows.to_dicts()
    return json.dumps(_jsonable(content), indent=2, allow_nan=False)


def to_csv(rows: pl.DataFrame) -> str:
    """The rows as CSV (RFC 4180), a line each: a line's end inside a text is written as Python writes it."""
    return rows.select(_csv_column(rows[name]) for name in rows.columns).write_csv(line_terminator="\n")


def _csv_column(values: pl.Series) -> pl.Series:
    if isinstance(values.dtype, pl.String | pl.List | pl.Struct | pl.Datetime):
        texts = [None if one is None else _csv_text(one) for one in values.to_list()]
        return pl.Series(values.name, texts, pl.String)
    return values


def _csv_text(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return plain(" ".join(value))
    return plain(value if isinstance(value, str) else json.dumps(_jsonable(value)))


def _jsonable(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(one) for key, one in value.items()}
    if isinstance(value, str) or value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, Iterable):
        return [_jsonable(one) for one in value]
    return value.isoformat() if isinstance(value, datetime) else str(value)
