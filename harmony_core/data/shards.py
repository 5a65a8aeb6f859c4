"""Token shards: flat little-endian files, written once, read through memory maps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import IO, Literal, Self

import numpy as np
from numpy.typing import NDArray

from harmony_core.atomic import patiently
from harmony_core.data.corpus import Split
from harmony_core.data.manifest import ShardRecord, redo, unreadable
from harmony_core.errors import UserError

SHARD_TOKENS = 2**27
_AT_ONCE = 2**20
Tokens = NDArray[np.uint16] | NDArray[np.uint32]


def token_dtype(vocab_size: int) -> Literal["<u2", "<u4"]:
    """The smallest type that holds every id."""
    return "<u2" if vocab_size <= 2**16 else "<u4"


class ShardWriter:
    """Writes the tokens of a split as `<split>-<number>.bin`, each file synced to disk.

    Args:
        folder: an existing folder.
        split: names the files.
        dtype: of a token on disk.
        shard_tokens: tokens a file; the last may have fewer.
    """

    def __init__(self, folder: Path, split: Split, dtype: str, shard_tokens: int = SHARD_TOKENS) -> None:
        self._folder, self._split, self._dtype, self._size = folder, split, dtype, shard_tokens
        self._records: list[ShardRecord] = []
        self._file: IO[bytes] | None = None
        self._hasher, self._written = hashlib.sha256(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, tokens: NDArray[np.uint32]) -> None:
        """Appends tokens, in an array of any length."""
        while len(tokens):
            room = self._size - self._written
            piece, tokens = tokens[:room], tokens[room:]
            content = piece.astype(self._dtype).tobytes()
            self._open().write(content)
            self._hasher.update(content)
            self._written += len(piece)
            if self._written == self._size:
                self._finish()

    def finish(self) -> tuple[ShardRecord, ...]:
        """Puts the last file on disk, and says what was written."""
        if self._file is not None:
            self._finish()
        return tuple(self._records)

    def _open(self) -> IO[bytes]:
        if self._file is None:
            name = f"{self._split}-{len(self._records):05d}.bin"
            self._file, self._hasher, self._written = (self._folder / name).open("xb"), hashlib.sha256(), 0
        return self._file

    def _finish(self) -> None:
        file = self._open()
        file.flush()
        os.fsync(file.fileno())
        file.close()
        name = Path(file.name).name
        self._records.append(ShardRecord(file=name, tokens=self._written, sha256=self._hasher.hexdigest()))
        self._file, self._written = None, 0


def open_shard(folder: Path, record: ShardRecord, dtype: str, verify: bool) -> Tokens:
    """Maps a shard into memory, read-only, [tokens].

    Args:
        folder: of the prepared data.
        record: of the shard in its manifest.
        dtype: of a token on disk, `<u2` or `<u4`.
        verify: whether its checksum is compared; each file is read for that once a process.

    Raises:
        UserError: it is missing, has another length, or (when verified) another checksum.
    """
    path = folder / record.file
    try:
        status = patiently(path.stat)
        expected = record.tokens * np.dtype(dtype).itemsize
        if status.st_size != expected:
            found = f"{status.st_size} bytes where the manifest has {expected}"
            raise UserError(str(path), found, redo(folder))
        if verify and _sha256(path, status.st_size, status.st_mtime_ns) != record.sha256:
            raise UserError(str(path), "corrupted (its SHA-256 is not the manifest's)", redo(folder))
        shard: Tokens = np.memmap(path, dtype=dtype, mode="r")
    except OSError as error:
        raise unreadable(path, error, redo(folder)) from None
    return shard


def read_shards(folder: Path, records: Iterable[ShardRecord], dtype: str) -> Iterator[Tokens]:
    """The tokens of shards in order, in pieces of at most 2^20, none of which is of two shards.

    Pages of a mapped file would count as this process's memory, all of them.

    Args:
        folder: of the prepared data.
        records: of the shards.
        dtype: of a token on disk.
    """
    for record in records:
        for start in range(0, record.tokens, _AT_ONCE):
            yield np.fromfile(folder / record.file, dtype, _AT_ONCE, offset=start * np.dtype(dtype).itemsize)


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Hex digest of a file; computed once a process (and its forked children) for one state of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
