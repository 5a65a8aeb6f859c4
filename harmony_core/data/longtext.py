"""A text that is too long to be held: it lies in a temporary file, and what is asked of it is read from there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import IO

from harmony_core.errors import UserError

# What is shorter is held.
_HELD_BYTES = 2**24
_PIECE_BYTES = 2**20


class LongText:
    """Bytes of an open file; it has length and slices, as bytes have, and `bytes(text)` reads it.

    Args:
        file: that nobody else writes to, open as long as this is used.
        start: first byte.
        stop: byte after the last.
    """

    def __init__(self, file: IO[bytes], start: int, stop: int) -> None:
        self._file, self._start, self._stop = file, start, stop

    def __len__(self) -> int:
        return self._stop - self._start

    def __getitem__(self, part: slice) -> LongText:
        start, stop, _ = part.indices(len(self))
        return LongText(self._file, self._start + start, self._start + max(start, stop))

    def __bytes__(self) -> bytes:
        self._file.seek(self._start)
        return self._file.read(len(self))


Text = bytes | LongText


@contextmanager
def text_of(blocks: Iterable[bytes]) -> Iterator[Text]:
    """The blocks as one text, held where it is short; a long one can be read until the context ends.

    Raises:
        UserError: the folder for temporary files has no room for it.
    """
    held, size, rest = list[bytes](), 0, iter(blocks)
    for block in rest:
        held.append(block)
        size += len(block)
        if size > _HELD_BYTES:
            break
    else:
        yield b"".join(held)
        return
    with _temporary() as file:
        for part in (held, rest):
            for block in part:
                _write(file, block)
        yield LongText(file, 0, file.tell())


def pieces(text: Text) -> Iterator[bytes]:
    """A text in order, in pieces of at most 1 MiB that may end within a character."""
    for start in range(0, len(text), _PIECE_BYTES):
        yield bytes(text[start : start + _PIECE_BYTES])


def digest_of(text: Text) -> bytes:
    """The SHA-256 of a text."""
    if isinstance(text, bytes):
        return hashlib.sha256(text).digest()
    hasher = hashlib.sha256()
    for piece in pieces(text):
        hasher.update(piece)
    return hasher.digest()


def _temporary() -> IO[bytes]:
    try:
        return TemporaryFile(prefix="harmony-text-")
    except OSError as error:
        raise _no_room(error) from None


def _write(file: IO[bytes], block: bytes) -> None:
    try:
        file.write(block)
        file.flush()
    except OSError as error:
        raise _no_room(error) from None


def _no_room(error: OSError) -> UserError:
    fix = "a text of more than 16 MiB needs its size there; make room, or set TMPDIR to another folder"
    return UserError("folder for temporary files", error.strerror, fix)
