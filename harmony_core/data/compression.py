"""Decompresses a whole file; each way in which that can fail has its own words."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import NamedTuple, Protocol

import zstandard

from harmony_core.errors import UserError

# Where a stream ends is known by what it leaves of a piece. If whole files were pieces, each of their streams would
# copy the rest of the file, and archives of many thousand streams are usual.
_PIECE_BYTES = 2**20
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


def decompress(data: bytes, compression: Compression, where: str) -> bytes:
    """All streams of a compressed file, joined.

    The libraries' own functions for whole files take the first stream for all where a later one of bzip2 or xz is
    damaged, and a truncated zstd file for a whole one.

    Args:
        data: the file.
        compression: how it is compressed.
        where: the file's name, for messages.

    Raises:
        UserError: it is empty, of another format, damaged or not whole, goes on after its end, or asks for more
            than can be given.
    """
    parts: list[bytes] = []
    position = 0
    while not parts or data[position:].strip(b"\0"):
        if not data.startswith(compression.begins, position):
            raise _no_stream(data, position, compression, where)
        stream = compression.new()
        while not stream.eof:
            piece = data[position : position + _PIECE_BYTES]
            if not piece:
                raise _cut_short(compression, where)
            try:
                parts.append(stream.decompress(piece))
            except _ERRORS as error:
                raise _failed(error, compression, where) from None
            position += len(piece)
        position -= len(stream.unused_data)
    return b"".join(parts)


def _no_stream(data: bytes, position: int, compression: Compression, where: str) -> UserError:
    rest, name = data[position:], compression.name
    if not data:
        return UserError(where, "an empty file", f"no {name} file is empty; copy it again, or take it away")
    if any(begin.startswith(rest) for begin in compression.begins):
        return _cut_short(compression, where)
    if position:
        fix = "cut them off, or compress the text again"
        return UserError(where, f"{len(rest)} byte(s) after the end of the {name} data", fix)
    others = [suffix for suffix, other in COMPRESSIONS.items() if data.startswith(other.begins)]
    suffix = f"it is {others[0]}" if others else "if it is not compressed, take the last suffix off"
    return UserError(where, f"begins with the bytes {rest[:4].hex(' ')}", f"this is no {name} file; {suffix}")


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
