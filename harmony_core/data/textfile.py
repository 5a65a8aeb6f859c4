"""Reads one text or JSONL file, plain or compressed; every way it can be wrong is told in one line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import zstandard

from harmony_core.data.corpus import Document
from harmony_core.errors import UserError

TEXT_SUFFIXES = (".txt", ".md", ".jsonl")


def _unzstd(data: bytes) -> bytes:
    """All frames of a .zst file; zstandard's own reader takes a truncated file for a whole one."""
    parts = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        parts.append(frame.decompress(data))
        if not frame.eof:
            raise EOFError("the last frame is not whole")
        data = frame.unused_data
    return b"".join(parts)


DECOMPRESS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.decompress,
    ".bz2": bz2.decompress,
    ".xz": lzma.decompress,
    ".zst": _unzstd,
}
_BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, zstandard.ZstdError)


def is_text(path: Path) -> bool:
    """Whether the name says text that can be read here (`a.txt`, `b.jsonl.zst`)."""
    suffixes = path.suffixes
    if suffixes and suffixes[-1] in DECOMPRESS:
        suffixes = suffixes[:-1]
    return bool(suffixes) and suffixes[-1] in TEXT_SUFFIXES


def is_unknown_compression(path: Path) -> bool:
    """Whether the name says text under a compression that is not known here (`a.txt.lz4`)."""
    suffixes = path.suffixes[-2:]
    packed = {".7z", ".br", ".lz4", ".lzma", ".rar", ".sz", ".z", ".zip"}
    return len(suffixes) == 2 and suffixes[0] in TEXT_SUFFIXES and suffixes[1].lower() in packed


def read_bytes(path: Path) -> bytes:
    """The file as it is on disk."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(str(path), error.strerror, "name a file that exists and is readable") from None


def read_documents(path: Path, name: str, text_key: str) -> Iterator[Document]:
    """The documents of a file that `is_text`: the whole file, or one a line of JSONL.

    Args:
        path: the file.
        name: how its documents are called in the manifest.
        text_key: key of the text in JSONL.

    Raises:
        UserError: it cannot be read or decompressed, or a line is not an object with that key.
    """
    data, suffixes = read_bytes(path), path.suffixes
    if suffixes[-1] in DECOMPRESS:
        try:
            data = DECOMPRESS[suffixes[-1]](data)
        except _BROKEN as error:
            fix = f"not a whole {suffixes[-1]} file; compress it again"
            raise UserError(str(path), str(error) or type(error).__name__, fix) from None
        suffixes = suffixes[:-1]
    if suffixes[-1] != ".jsonl":
        yield Document(name, data)
        return
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            yield Document(f"{name}:{number}", _text_of(line, f"{path}:{number}", text_key))


def _text_of(line: bytes, where: str, text_key: str) -> bytes:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        fix = f"one JSON object a line is needed ({error})"
        raise UserError(where, _short(line), fix) from None
    if not isinstance(record, dict) or text_key not in record:
        raise UserError(where, _short(line), f"no key {text_key!r}; set data.text_key to the key of the text")
    if not isinstance(record[text_key], str):
        fix = f"the value of {text_key!r} is not text; set data.text_key to the key of the text"
        raise UserError(where, _short(line), fix)
    # JSON may hold half a surrogate pair, which has no UTF-8 of its own; three odd bytes are no worse.
    return str(record[text_key]).encode("utf-8", errors="surrogatepass")


def _short(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").strip()
    return text if len(text) <= 60 else f"{text[:57]}..."
