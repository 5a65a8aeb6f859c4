"""Bytes of unknown encoding to UTF-8 text, or one line that says what is in the way; names that can be shown."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
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
_MARK_BYTES = 4
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
    mark, encoding = _mark_of(data)
    if encoding == "utf-8":
        if error := _no_utf8(data, where):
            raise error
        return data[len(mark) :]
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError as error:
        offset = error.start + len(mark)
        found = f"byte 0x{data[offset]:02x} at {_place(data, offset)} is not {encoding.upper()}"
        fix = f"the file begins with the mark of {encoding.upper()} and is not whole, or is another; copy it again"
        raise UserError(where, found, fix) from None
    if "\0" in text:
        raise UserError(where, f"NUL characters in {encoding.upper()} text", "binary; leave it out")
    return text.encode()


def utf8_lines(blocks: Iterable[bytes], where: str, bad: Callable[[UserError], None]) -> Iterator[tuple[int, bytes]]:
    """The lines of a text as UTF-8, without their ends, each with its number from 1.

    UTF-16 and UTF-32 are held in memory as a whole; of UTF-8, a line at a time.

    Args:
        blocks: a file, decompressed, in blocks of any length.
        where: its name, for messages.
        bad: told of a line that is not text, which is left out where that returns.

    Raises:
        UserError: it is in UTF-16 or UTF-32, and not right.
    """
    begin, rest = b"", iter(blocks)
    while len(begin) < _MARK_BYTES and (block := next(rest, None)) is not None:
        begin += block
    mark, encoding = _mark_of(begin)
    if encoding != "utf-8":
        yield from enumerate(to_utf8(b"".join([begin, *rest]), where).split(b"\n"), start=1)
        return
    offset = len(mark)
    for number, line in enumerate(_split(chain([begin[len(mark) :]], rest)), start=1):
        if error := _no_utf8(line, where, offset, number):
            bad(error)
        else:
            yield number, line
        offset += len(line) + 1


def _split(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """What stands between line ends."""
    begun: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        begun.append(first)
        if others:
            yield b"".join(begun)
            yield from others[:-1]
            begun = [others[-1]]
    yield b"".join(begun)


def _mark_of(data: bytes) -> tuple[bytes, str]:
    """The mark that a text begins with, and the encoding that it says."""
    return next((known for known in _MARKS if data.startswith(known[0])), (b"", "utf-8"))


def _no_utf8(data: bytes, where: str, offset: int = 0, line: int = 1) -> UserError | None:
    """What is wrong with text that should be UTF-8.

    Args:
        data: it.
        where: the file's name.
        offset: where in the file it begins.
        line: the number of its first line.
    """
    if (place := data.find(b"\0")) >= 0:
        fix = "binary, or UTF-16 without its mark; leave it out, or convert it (iconv -f UTF-16LE -t UTF-8)"
        return UserError(where, f"a NUL byte at {_place(data, place, offset, line)}", fix)
    if data.isascii():
        return None
    try:
        data.decode()
    except UnicodeDecodeError as error:
        place = error.start
        found = f"byte 0x{data[place]:02x} at {_place(data, place, offset, line)} is not UTF-8"
        return UserError(
            where, found, "convert the file from what it is, for example with iconv -f ISO-8859-1 -t UTF-8"
        )
    return None


def _place(data: bytes, place: int, offset: int = 0, line: int = 1) -> str:
    lines = data.count(b"\n", 0, place)
    return f"offset {offset + place} (line {line + lines})"


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
