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
    """The text of a whole file, as `utf8_blocks` gives it; arguments and errors as there."""
    return b"".join(utf8_blocks([data], where))


def utf8_blocks(blocks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """A text as UTF-8 without a byte order mark, in blocks that end between characters.

    UTF-16 and UTF-32 are known by their mark. Without one, only UTF-8 is read: other encodings cannot be told from
    each other, and their bytes would be trained on as if they were text. A NUL byte stands in no text, but in
    binary files and in UTF-16 without a mark.

    Args:
        blocks: a file, decompressed, in blocks of any length.
        where: its name, for messages.

    Raises:
        UserError: it is not text in these encodings; with the place, counted in bytes from 0.
    """
    mark, encoding, rest = _marked(blocks)
    return _decoded(rest, where, mark, encoding)


def utf8_lines(blocks: Iterable[bytes], where: str, bad: Callable[[UserError], None]) -> Iterator[tuple[int, bytes]]:
    """The lines of a text as UTF-8, without their ends, each with its number from 1; one is held at a time.

    Args:
        blocks: a file, decompressed, in blocks of any length.
        where: its name, for messages.
        bad: told of a line that is not text, which is left out where that returns.

    Raises:
        UserError: it is in UTF-16 or UTF-32, and not right.
    """
    mark, encoding, rest = _marked(blocks)
    if encoding != "utf-8":
        yield from enumerate(_split(_decoded(rest, where, mark, encoding)), start=1)
        return
    offset = len(mark)
    for number, line in enumerate(_split(rest), start=1):
        if error := _no_utf8(line, where, offset, number):
            bad(error)
        else:
            yield number, line
        offset += len(line) + 1


def _marked(blocks: Iterable[bytes]) -> tuple[bytes, str, Iterable[bytes]]:
    """The mark that a text begins with, the encoding that it says, and the blocks after it."""
    begin, rest = b"", iter(blocks)
    while len(begin) < _MARK_BYTES and (block := next(rest, None)) is not None:
        begin += block
    mark, encoding = next((known for known in _MARKS if begin.startswith(known[0])), (b"", "utf-8"))
    return mark, encoding, chain([begin[len(mark) :]], rest)


def _decoded(blocks: Iterable[bytes], where: str, mark: bytes, encoding: str) -> Iterator[bytes]:
    """The blocks after a mark as UTF-8; arguments and errors else as for `utf8_blocks`."""
    offset, line, held = len(mark), 1, b""
    for block in chain(blocks, [None]):
        # After the last, what is held begins a character that does not end.
        data = held if block is None else held + block
        whole = data if block is None else data[: len(data) - _begun(data, encoding)]
        if encoding == "utf-8":
            if error := _no_utf8(whole, where, offset, line):
                raise error
            yield whole
        else:
            yield _from_units(whole, where, encoding, offset, line)
        held = data[len(whole) :]
        offset, line = offset + len(whole), line + whole.count(b"\n")


def _begun(data: bytes, encoding: str) -> int:
    """How many bytes at the end may begin a character that goes on after them."""
    if encoding.startswith("utf-32"):
        return len(data) % 4
    if encoding.startswith("utf-16"):
        odd = len(data) % 2
        # The first half of a pair has its six high bits in the second byte, or in the first.
        high = len(data) - odd - (1 if encoding == "utf-16-le" else 2)
        return odd + (2 if high >= 0 and data[high] & 0xFC == 0xD8 else 0)
    for size in range(1, min(3, len(data)) + 1):
        first = data[-size]
        if first & 0xC0 != 0x80:
            length = 4 if first >= 0xF0 else 3 if first >= 0xE0 else 2 if first >= 0xC0 else 1
            return size if length > size else 0
    return 0


def _from_units(data: bytes, where: str, encoding: str, offset: int, line: int) -> bytes:
    """Text in UTF-16 or UTF-32 without its mark as UTF-8; `encoding` says which, the rest is as for `_no_utf8`."""
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        place = error.start
        found = f"byte 0x{data[place]:02x} at {_place(data, place, offset, line)} is not {encoding.upper()}"
        fix = f"the file begins with the mark of {encoding.upper()} and is not whole, or is another; copy it again"
        raise UserError(where, found, fix) from None
    if "\0" in text:
        raise UserError(where, f"NUL characters in {encoding.upper()} text", "binary; leave it out")
    return text.encode()


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
