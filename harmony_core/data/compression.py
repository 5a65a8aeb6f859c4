"""Decompresses a file block by block; each way in which that can fail has its own words."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

import zstandard

from harmony_core.errors import UserError

# A piece of this size grows to about 100 MB at most, whatever its file was made for. Where a stream ends is known by
# what it leaves of a piece, which is copied, and archives of many thousand streams are usual.
_PIECE_BYTES = 2**12
# The longest window that the format's tools write (`--long=31`); the memory is used as the text fills it.
_ZSTD_WINDOW = 2**31
_ERRORS = (OSError, EOFError, ValueError, MemoryError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


class _Stream(Protocol):
    """One of the streams (members, frames) that a compressed file is a sequence of."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Compression(NamedTuple):
    """A way to compress.

    Args:
        name: of the format.
        begins: what each of its streams begins with, one of these.
        new: makes a decompressor of one stream.
    """

    name: str
    begins: tuple[bytes, ...]
    new: Callable[[], _Stream]


_GZIP = Compression("gzip", (b"\x1f\x8b",), lambda: zlib.decompressobj(wbits=31))
_BZIP2 = Compression("bzip2", (b"BZh",), bz2.BZ2Decompressor)
_XZ = Compression("xz", (b"\xfd7zXZ\x00",), lambda: lzma.LZMADecompressor(format=lzma.FORMAT_XZ))
# A frame holds text, or is one of the sixteen kinds that readers skip.
_ZSTD_BEGINS = (b"\x28\xb5\x2f\xfd", *(bytes([0x50 + n]) + b"\x2a\x4d\x18" for n in range(16)))
_ZSTD = Compression(
    "zstd", _ZSTD_BEGINS, lambda: zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
)
# Suffixes are in small letters.
COMPRESSIONS = {".gz": _GZIP, ".bz2": _BZIP2, ".xz": _XZ, ".zst": _ZSTD, ".zstd": _ZSTD}
_BEGIN_BYTES = max(len(begin) for one in COMPRESSIONS.values() for begin in one.begins)


class _Compressed:
    """The bytes of a file that are still to be read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks, self._data, self._at = iter(blocks), b"", 0

    def peek(self, size: int) -> bytes:
        """The next bytes, as many as this where there are."""
        while len(self._data) - self._at < size and (block := next(self._blocks, None)) is not None:
            self._data, self._at = self._data[self._at :] + block, 0
        return self._data[self._at : self._at + size]

    def take(self) -> bytes:
        """The next piece; nothing at the end of the file."""
        self.peek(1)
        piece = self._data[self._at : self._at + _PIECE_BYTES]
        self._at += len(piece)
        return piece

    def give_back(self, size: int) -> None:
        """The last so many bytes of the piece taken last are still to be read."""
        self._at -= size

    def skip_zeros(self) -> int:
        """Takes the zeros that come next, and says how many; tapes and disks pad with them."""
        count = 0
        while piece := self.take():
            other = piece.lstrip(b"\0")
            count += len(piece) - len(other)
            if other:
                self.give_back(len(other))
                break
        return count

    def rest(self) -> int:
        """How many bytes are left; takes them."""
        count = 0
        while piece := self.take():
            count += len(piece)
        return count


def decompress(blocks: Iterable[bytes], compression: Compression, where: str) -> Iterator[bytes]:
    """All streams of a compressed file, in order, in blocks of any length.

    The libraries' own functions for whole files take the first stream for all where a later one of bzip2 or xz is
    damaged, and a truncated zstd file for a whole one.

    Args:
        blocks: of the file.
        compression: how it is compressed.
        where: the file's name, for messages.

    Raises:
        UserError: it is empty, of another format, damaged or not whole, goes on after its end, or asks for more
            than can be given.
    """
    file = _Compressed(blocks)
    if not file.peek(_BEGIN_BYTES).startswith(compression.begins):
        raise _no_stream(file, compression, where)
    while file.peek(1):
        yield from _stream(file, compression, where)
        zeros, begin = file.skip_zeros(), file.peek(_BEGIN_BYTES)
        if (zeros and begin) or (not begin.startswith(compression.begins) and not _begins(begin, compression)):
            found = f"{zeros + file.rest()} byte(s) after the end of the {compression.name} data"
            raise UserError(where, found, "cut them off, or compress the text again")


def _stream(file: _Compressed, compression: Compression, where: str) -> Iterator[bytes]:
    stream = compression.new()
    while not stream.eof:
        if not (piece := file.take()):
            raise _cut_short(compression, where)
        try:
            found = stream.decompress(piece)
        except _ERRORS as error:
            raise _failed(error, compression, where) from None
        if found:
            yield found
    file.give_back(len(stream.unused_data))


def _begins(data: bytes, compression: Compression) -> bool:
    """Whether a stream may begin with these bytes, and be cut off within its first."""
    return any(begin.startswith(data) for begin in compression.begins)


def _no_stream(file: _Compressed, compression: Compression, where: str) -> UserError:
    begin, name = file.peek(_BEGIN_BYTES), compression.name
    if not begin:
        return UserError(where, "an empty file", f"no {name} file is empty; copy it again, or take it away")
    if _begins(begin, compression):
        return _cut_short(compression, where)
    others = [suffix for suffix, other in COMPRESSIONS.items() if begin.startswith(other.begins)]
    suffix = f"it is {others[0]}" if others else "if it is not compressed, take the last suffix off"
    return UserError(where, f"begins with the bytes {begin[:4].hex(' ')}", f"this is no {name} file; {suffix}")


def _cut_short(compression: Compression, where: str) -> UserError:
    return UserError(where, f"its {compression.name} data end early", "the file is not whole; copy it again")


def _failed(error: Exception, compression: Compression, where: str) -> UserError:
    """What a decompressor's error means: a limit of the decoder is no damage of the file."""
    said = str(error) or type(error).__name__
    if isinstance(error, MemoryError) or "llocation" in said:
        fix = "not enough memory here; make more available, or compress it again with a smaller window"
    elif "too much memory" in said:
        fix = "its window is over 2 GiB; compress it again with at most --long=31"
    elif "ictionary" in said:
        fix = "it needs a dictionary, which is not known here; compress it again without one"
    elif "nsupported" in said or "unknown" in said:
        fix = f"it uses what this {compression.name} does not know; compress it again with the usual options"
    else:
        fix = f"its {compression.name} data are damaged; copy the file again"
    return UserError(where, said, fix)
