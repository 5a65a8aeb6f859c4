"""Bytes of unknown encoding to UTF-8 text, or one line that says what is in the way; names that can be shown."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path

from harmony_core.errors import UserError

# UTF-32's mark begins with UTF-16's, so it comes first.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_FIRST_NAMES = 5


def to_utf8(data: bytes, where: str) -> bytes:
    """The text as UTF-8 without a byte order mark.

    UTF-16 and UTF-32 are known by their mark. Without one, only UTF-8 is read: other encodings cannot be told from
    each other, and their bytes would be trained on as if they were text. A NUL byte stands in no text, but in
    binary files and in UTF-16 without a mark.

    Args:
        data: a whole file, decompressed.
        where: its name, for messages.

    Raises:
        UserError: it is not text in these encodings; with the place, counted in bytes from 0.
    """
    mark, encoding = next((known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8"))
    if encoding == "utf-8" and (offset := data.find(b"\0")) >= 0:
        fix = "binary, or UTF-16 without its mark; leave it out, or convert it (iconv -f UTF-16LE -t UTF-8)"
        raise UserError(where, f"a NUL byte at {_place(data, offset)}", fix)
    if data.isascii():
        return data
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        offset = error.start + len(mark)
        found = f"byte 0x{data[offset]:02x} at {_place(data, offset)} is not {encoding.upper()}"
        if encoding == "utf-8":
            fix = "convert the file from what it is, for example with iconv -f ISO-8859-1 -t UTF-8"
        else:
            fix = f"the file begins with the mark of {encoding.upper()} and is not whole, or is another; copy it again"
        raise UserError(where, found, fix) from None
    if encoding == "utf-8":
        return data[len(mark) :]
    if "\0" in text:
        raise UserError(where, f"NUL characters in {encoding.upper()} text", "binary; leave it out")
    return text.encode()


def _place(data: bytes, offset: int) -> str:
    lines = data.count(b"\n", 0, offset)
    return f"offset {offset} (line {lines + 1})"


def shown(name: Path | str) -> str:
    """A name that a terminal, a line of a log and a JSON file can hold: whatever is not printable is escaped."""
    text = str(name)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def first_names(names: Sequence[str]) -> str:
    """The first few of many names, for a line of the log."""
    more = ", ..." if len(names) > _FIRST_NAMES else ""
    return ", ".join(names[:_FIRST_NAMES]) + more
