"""What the readers of all kinds of files share: how a record becomes a document, and what becomes of a bad one."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from harmony_core.data.corpus import Log
from harmony_core.errors import UserError

_NAMES = 10


class Reading(NamedTuple):
    """A file, and how its records are read.

    Args:
        name: how its documents are called in the manifest.
        where: the file's name, for messages.
        text_key: key or column of the text.
        bad: told of each record that is none; raises, where they are not to be skipped.
        log: told of what was replaced.
    """

    name: str
    where: str
    text_key: str
    bad: Callable[[UserError], None]
    log: Log


def refuse(error: UserError) -> None:
    """What becomes of a bad record where nothing else was asked for."""
    raise error


def column_number(columns: Sequence[str], texts: Sequence[str], reading: Reading) -> int:
    """The place of the text's column.

    Args:
        columns: all of them, by name.
        texts: those that hold text.
        reading: of the file.

    Raises:
        UserError: there is none of that name, or more than one, or it holds no text.
    """
    key, fix = reading.text_key, "set data.text_key to the column of the text"
    there = f"columns of text here: {_listed(texts)}" if texts else "no column here holds text"
    if (count := columns.count(key)) > 1:
        raise UserError(reading.where, f"{count} columns with the name {key!r}", "rename all but one of them")
    if not count:
        found = f"no column {key!r}" if columns else "no column at all"
        raise UserError(reading.where, found, f"{fix}; {there}")
    if key not in texts:
        raise UserError(reading.where, f"the column {key!r} is not text", f"{fix}; {there}")
    return columns.index(key)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES} more" if len(names) > _NAMES else ""
    return ", ".join(map(repr, names[:_NAMES])) + more


def short(line: bytes | str) -> str:
    """A line as it is told in a message."""
    text = (line if isinstance(line, str) else line[:240].decode("utf-8", errors="replace")).strip()
    return text if len(text) <= 60 else f"{text[:57]}..."


HALF_A_PAIR = re.compile("[\ud800-\udfff]")
