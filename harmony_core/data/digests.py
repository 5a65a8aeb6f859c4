"""The digests of a corpus's documents, sorted on disk, so that memory does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import numpy as np
from numpy.typing import NDArray

from harmony_core.errors import UserError

_BYTES = 32
# Fields are sorted by digest. NumPy compares all 32 bytes of two such strings.
_RECORD = np.dtype([("digest", f"S{_BYTES}"), ("number", "<i8"), ("size", "<i8")])
# So many records are held in memory, which is 3 MB; what is more lies in files, one for each first byte of a digest.
_HELD = 2**16


class DigestTable:
    """SHA-256 and size of every document, in the order of reading; a context, since it may have files.

    Its files are in the folder for temporary files (`TMPDIR` sets it): 48 bytes a document, from the 65,537th on.
    """

    def __init__(self) -> None:
        self._held = np.empty(_HELD, dtype=_RECORD)
        self._count = self._total = 0
        self._folder: TemporaryDirectory[str] | None = None
        self.longest = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        if self._folder is not None:
            self._folder.cleanup()

    def add(self, digest: bytes, size: int) -> None:
        """The next document."""
        if self._count == _HELD:
            self._write()
        self._held[self._count] = digest, self._total, size
        self._count += 1
        self._total += 1
        self.longest = max(self.longest, size)

    def repeats(self) -> tuple[bytearray, int]:
        """For each document 1 where an earlier one has its digest, else 0; and the bytes of all others."""
        found, total = bytearray(self._total), 0
        for first in self._firsts():
            bucket = self._bucket(first)
            again = _repeats(bucket)
            for number in bucket["number"][again].tolist():
                found[number] = 1
            total += int(bucket["size"][~again].sum())
        return found, total

    def rising(self, longest: int, others: Mapping[bytes, int]) -> Iterator[tuple[bytes, int]]:
        """Digest and size, in the order of digests, of every document that is no repeat and not too long.

        Args:
            longest: what is longer is left out.
            others: further digests with their sizes, which are put in at their places.
        """
        for first in self._firsts():
            yield from self._merged(first, longest, others)

    def falling(self, longest: int, others: Mapping[bytes, int]) -> Iterator[tuple[bytes, int]]:
        """The same from the end; arguments as for `rising`."""
        for first in reversed(self._firsts()):
            yield from reversed(self._merged(first, longest, others))

    def _merged(self, first: int | None, longest: int, others: Mapping[bytes, int]) -> list[tuple[bytes, int]]:
        bucket = self._bucket(first)
        kept = bucket[~_repeats(bucket) & (bucket["size"] <= longest)]
        # NumPy drops zeros at the end of such a string.
        own = [(digest.ljust(_BYTES, b"\0"), size) for digest, _, size in kept.tolist()]
        return sorted(own + [pair for pair in others.items() if first in (None, pair[0][0])])

    def _firsts(self) -> Sequence[int | None]:
        """What the buckets hold, in order: the digests with one first byte, or all where no file was needed."""
        return (None,) if self._folder is None else range(256)

    def _bucket(self, first: int | None) -> NDArray[np.void]:
        """The records of a bucket, by digest and then in the order of reading."""
        found = self._held[: self._count]
        if first is not None:
            found = found[_first_bytes(found) == first]
            if (path := self._file(first)).exists():
                found = np.concatenate([np.fromfile(path, dtype=_RECORD), found])
        return found[np.argsort(found["digest"], kind="stable")]

    def _write(self) -> None:
        """Moves what is held to the files."""
        try:
            if self._folder is None:
                self._folder = TemporaryDirectory(prefix="harmony-digests-")
            firsts = _first_bytes(self._held)
            for first in range(256):
                with self._file(first).open("ab") as file:
                    file.write(self._held[firsts == first].tobytes())
        except OSError as error:
            fix = "the digests of many documents need room there; make some, or set TMPDIR to another folder"
            raise UserError("folder for temporary files", error.strerror, fix) from None
        self._count = 0

    def _file(self, first: int) -> Path:
        assert self._folder is not None
        return Path(self._folder.name, f"{first:02x}")


def _first_bytes(records: NDArray[np.void]) -> NDArray[np.uint8]:
    first: NDArray[np.uint8] = records.view(np.uint8).reshape(-1, _RECORD.itemsize)[:, 0]
    return first


def _repeats(bucket: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether the record before has the same digest."""
    same = np.zeros(len(bucket), dtype=bool)
    same[1:] = bucket["digest"][1:] == bucket["digest"][:-1]
    return same
