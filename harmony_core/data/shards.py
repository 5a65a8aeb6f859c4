"""Token shards: flat little-endian files, written once, read through memory maps."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harmony_core.atomic import patiently
from harmony_core.data.corpus import Split
from harmony_core.data.manifest import ShardRecord, redo, unreadable
from harmony_core.errors import UserError

SHARD_TOKENS = 2**27
Tokens = NDArray[np.uint16] | NDArray[np.uint32]


def token_dtype(vocab_size: int) -> Literal["<u2", "<u4"]:
    """The smallest type that holds every id."""
    return "<u2" if vocab_size <= 2**16 else "<u4"


def write_shards(
    folder: Path,
    split: Split,
    pieces: Iterable[NDArray[np.uint32]],
    dtype: str,
    shard_tokens: int = SHARD_TOKENS,
) -> tuple[ShardRecord, ...]:
    """Writes a stream of tokens as `<split>-<number>.bin`, each file synced to disk.

    Args:
        folder: an existing folder.
        split: names the files.
        pieces: the tokens in order, in arrays of any length.
        dtype: of a token on disk.
        shard_tokens: tokens a file; the last may have fewer.
    """
    records: list[ShardRecord] = []
    for number, shard in enumerate(_regroup(pieces, shard_tokens)):
        path, hasher, tokens = folder / f"{split}-{number:05d}.bin", hashlib.sha256(), 0
        with path.open("xb") as file:
            for piece in shard:
                content = piece.astype(dtype).tobytes()
                hasher.update(content)
                file.write(content)
                tokens += len(piece)
            file.flush()
            os.fsync(file.fileno())
        records.append(ShardRecord(file=path.name, tokens=tokens, sha256=hasher.hexdigest()))
    return tuple(records)


def _regroup(pieces: Iterable[NDArray[np.uint32]], size: int) -> Iterator[list[NDArray[np.uint32]]]:
    """Lists of arrays with `size` tokens each, the last with what is left."""
    group: list[NDArray[np.uint32]] = []
    room = size
    for piece in pieces:
        while len(piece) >= room:
            yield [*group, piece[:room]]
            piece, group, room = piece[room:], [], size
        if len(piece):
            group.append(piece)
            room -= len(piece)
    if group:
        yield group


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


@cache
def _sha256(path: Path, size: int, modified_ns: int) -> str:
    """Hex digest of a file; computed once a process (and its forked children) for one state of the file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
