"""Text that is tokens already: arrays of ids in .npy and .bin files, cut into documents at the separator."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from harmony_core.data.corpus import Corpus, Document, Log
from harmony_core.data.encoding import shown
from harmony_core.data.listing import expand
from harmony_core.data.longtext import Text
from harmony_core.data.splitting import Cutter, SplitDocuments
from harmony_core.data.tokenizer import Tokenizer
from harmony_core.errors import UserError

READING_VERSION = 1
SUFFIXES = (".npy", ".bin")
_AT_ONCE = 2**20
# How ids are held in a `Document`, whatever they were read from.
IDS = np.dtype("<u4")


class TokensSource:
    """Token ids, of which what stands between two separators is a document.

    Args:
        paths: files, folders and patterns.
        dtype: NumPy's name of an id in .bin files; None where there are none.
        tokenizer: gives what the ids are of.
    """

    name = "tokens"
    licence = "The text's own; it is not known here."

    def __init__(self, paths: Sequence[str], dtype: str | None, tokenizer: Callable[[], Tokenizer]) -> None:
        self._paths, self._dtype, self._tokenizer = paths, dtype, tokenizer
        self.origin = ", ".join(shown(path) for path in paths)

    def fingerprint(self) -> object:
        """The content of every file and how it is read."""
        files = _token_files(self._paths)
        has_bin = any(path.suffix.lower() == ".bin" for path in files)
        found = [[path.suffix.lower(), _sha256(path)] for path in files]
        return {"reading": READING_VERSION, "files": found, "dtype": self._dtype if has_bin else None}

    def documents(self, log: Log) -> Corpus:
        """Every document, as ids of four bytes; the split follows from their content (see `SplitDocuments`)."""
        tokenizer, files = self._tokenizer(), _token_files(self._paths)
        arrays = [_open(path, self._dtype) for path in files]
        log(f"reading {len(files)} file(s) of tokens of {self.origin}")
        reader = _Reader(arrays, tokenizer.vocab_size, tokenizer.separator)
        corpus = SplitDocuments(reader.documents, log, Cutter(_cuts, "between tokens"))
        if reader.whole:
            first = shown(reader.whole[0])
            log(
                f"no separator (token {tokenizer.separator}) in {len(reader.whole)} file(s), each one document: {first}"
            )
        return corpus


class _Array(NamedTuple):
    """Where a file has its ids.

    Args:
        path: the file.
        dtype: of an id.
        offset: bytes before the first.
        length: how many.
    """

    path: Path
    dtype: np.dtype[np.integer]
    offset: int
    length: int


class _Reader:
    """Reads the same arrays again and again.

    Args:
        arrays: in order.
        vocab_size: ids are below it.
        separator: stands between documents.
    """

    def __init__(self, arrays: Sequence[_Array], vocab_size: int, separator: int) -> None:
        self._arrays, self._vocab_size, self._separator = arrays, vocab_size, separator
        self.whole: list[Path] = []

    def documents(self) -> Iterator[Document]:
        """Every document that has a token."""
        self.whole = []
        for array in self._arrays:
            number, begun = 0, list[NDArray[np.uint32]]()
            for piece in self._pieces(array):
                first, *others = np.split(piece, np.flatnonzero(piece == self._separator))
                begun.append(first)
                for other in others:
                    number += 1
                    yield from _document(array.path, number, begun)
                    # A separator stands before each document that is written.
                    begun = [other[1:]]
            if not number:
                self.whole.append(array.path)
            yield from _document(array.path, number + 1, begun)

    def _pieces(self, array: _Array) -> Iterator[NDArray[np.uint32]]:
        for start in range(0, array.length, _AT_ONCE):
            count = min(_AT_ONCE, array.length - start)
            try:
                ids = np.fromfile(array.path, array.dtype, count, offset=array.offset + start * array.dtype.itemsize)
            except OSError as error:
                raise UserError(shown(array.path), error.strerror, "name a file that can be read") from None
            if len(ids) < count:
                raise UserError(shown(array.path), "it became shorter", "let nothing write to it meanwhile")
            if (outside := np.flatnonzero((ids < 0) | (ids >= self._vocab_size))).size:
                place = int(outside[0])
                fix = (
                    f"ids from 0 to {self._vocab_size - 1} are possible; name the file's own tokenizer and token_dtype"
                )
                raise UserError(shown(array.path), f"id {int(ids[place])} at {start + place}", fix)
            yield ids.astype(np.uint32)


def ids_of(document: bytes) -> NDArray[np.uint32]:
    """The ids of a document of tokens, [N]."""
    return np.frombuffer(document, dtype=IDS).astype(np.uint32)


def _document(path: Path, number: int, parts: Sequence[NDArray[np.uint32]]) -> Iterator[Document]:
    content = b"".join(part.astype(IDS).tobytes() for part in parts)
    if content:
        yield Document(f"{shown(path.name)}:{number}", content)


def _cuts(ids: Text, piece: int) -> list[int]:
    """Where a document is cut, between two ids: into even pieces of at most so many bytes."""
    count = -(-len(ids) // piece)
    return [number * len(ids) // count // IDS.itemsize * IDS.itemsize for number in range(1, count)]


def _token_files(paths: Sequence[str]) -> list[Path]:
    """The files of `paths`, in their order and sorted within each folder, each once."""
    found: dict[Path, None] = {}
    for path in (one for pattern in paths for one in expand(pattern, _is_known)):
        inside = [path] if not path.is_dir() else [one for one in sorted(path.rglob("*")) if _is_known(one)]
        if not inside or not all(map(_is_known, inside)):
            raise UserError("data.paths", shown(path), f"no tokens here; name {' or '.join(SUFFIXES)} files")
        found |= dict.fromkeys(inside)
    return list(found)


def _is_known(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _open(path: Path, dtype: str | None) -> _Array:
    """Where a file's ids are.

    Raises:
        UserError: it cannot be read, holds something else, or its dtype is not told.
    """
    where = shown(path)
    try:
        size = path.stat().st_size
        if path.suffix.lower() == ".npy":
            return _header(path, where)
    except OSError as error:
        raise UserError(where, error.strerror, "name a file that exists and is readable") from None
    if dtype is None:
        raise UserError("data.token_dtype", "none", f"{where} needs it; say of which type an id is, such as uint16")
    kind = np.dtype(dtype).newbyteorder("<")
    if not size or size % kind.itemsize:
        raise UserError(
            where, f"{size} bytes", f"this is no whole number of ids of {dtype}; set data.token_dtype to theirs"
        )
    return _Array(path, kind, 0, size // kind.itemsize)


def _header(path: Path, where: str) -> _Array:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError, TypeError, Warning) as error:
        raise UserError(where, str(error)[:120], "this is no .npy file, or it is damaged; write it again") from None
    if not isinstance(array, np.memmap) or array.ndim != 1 or array.dtype.kind not in "iu" or not array.size:
        found = f"{getattr(array, 'dtype', type(array).__name__)} of shape {getattr(array, 'shape', '')}"
        raise UserError(where, found, "a flat array of whole numbers is needed")
    return _Array(path, array.dtype, int(array.offset), array.size)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(shown(path), error.strerror, "name a file that exists and is readable") from None
