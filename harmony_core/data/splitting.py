"""Splits a person's own documents by what is in them, however many there are.

The documents are read again and again and never held together. What is kept of each is one byte; the digests that
decide lie in a `DigestTable`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, pairwise
from typing import NamedTuple

from harmony_core.data.corpus import Document, LeftOut, Log, Split
from harmony_core.data.digests import DigestTable
from harmony_core.data.encoding import first_names
from harmony_core.data.longtext import Text, digest_of
from harmony_core.errors import UserError

# Validation and test get one twentieth of the bytes each.
_PARTS = 20
# Smaller corpora would leave these splits a few words.
_MIN_BYTES = 200
# Where a quarter of a split is less than this, documents stay whole as long as a split can hold them: a piece of a few
# words is no text to evaluate on.
_SHORT_BYTES = 2048
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")

# Every document, in order; each call begins anew, and gives the same.
Reader = Callable[[], Iterator[Document]]


class Cutter(NamedTuple):
    """How a long document is cut.

    Args:
        places: where it is, into pieces of at most so many bytes.
        told: how the log calls these places.
    """

    places: Callable[[Text, int], list[int]]
    told: str


class _Unit(NamedTuple):
    """What goes into one split as a whole: a document, or a piece of one.

    Args:
        key: decides the split.
        start: first byte.
        stop: byte after the last.
    """

    key: bytes
    start: int
    stop: int


class SplitDocuments:
    """Documents of which validation and test have about 5% of the bytes each, and training the rest, by content alone.

    1. Of equal texts the first is kept, and the log says how many are left out. So copying moves nothing, and no
       text stands on two sides.
    2. A document of more than a quarter of 5% of all bytes (in a corpus of less than 160 kB: more than 2 kB or 10%
       of it, whichever is less) is cut into pieces of at most three quarters of that, and the log says so. A cut is
       made after a blank line, else after a line, else between two characters.
    3. Documents and pieces are ordered by the SHA-256 of the text (of a piece: of its document's text and its
       number). Validation is the start and test the end of that order whose bytes come nearest to 5%, and not under
       2.5%. Names and order of the files decide nothing; text that is added moves at most what was near those
       two places, and where a long document is cut.
    4. Neighbouring pieces in one split are joined again. Each split keeps the order of the documents.

    Args:
        read: gives every document, none of them empty; called three or four times in all.
        log: told of what is left out and cut.
        cut: where a long document is cut.
        bad_records: how many records the reader leaves out, once it has read.

    Raises:
        UserError: there is too little different text for three splits, or it changes while it is read.
    """

    def __init__(self, read: Reader, log: Log, cut: Cutter | None = None, bad_records: Callable[[], int] = int) -> None:
        self._read, self._cut = read, cut or Cutter(text_cuts, "at paragraphs")
        with DigestTable() as table:
            self._seen = hashlib.sha256()
            self._num_read = 0
            for document in read():
                key = digest_of(document.text)
                table.add(key, len(document.text))
                self._seen.update(key)
                self._num_read += 1
            self._repeats, total = table.repeats()
            self.left_out = LeftOut(self._repeats.count(1), bad_records())
            if self.left_out.duplicates:
                log(f"leaving out {self.left_out.duplicates} document(s) whose text is there already")
            if total < _MIN_BYTES:
                fix = f"too little for three splits; use at least {_MIN_BYTES}"
                raise UserError("data.paths", f"{total} bytes of different text", fix)
            self._longest = max(total // (4 * _PARTS), min(_SHORT_BYTES, 2 * total // _PARTS))
            self._pieces = self._cut_long(total, log) if table.longest > self._longest else {}
            sizes = {unit.key: unit.stop - unit.start for units in self._pieces.values() for unit in units}
            self._first = _boundary(table.rising(self._longest, sizes), total / _PARTS)
            self._last = _boundary(table.falling(self._longest, sizes), total / _PARTS)

    def parts(self) -> Iterator[tuple[Split, Document]]:
        """Every document in the order in which they are read, and every run of pieces that lie in one split."""
        seen, number = hashlib.sha256(), -1
        for number, document in enumerate(self._read()):
            key = digest_of(document.text)
            seen.update(key)
            if number >= self._num_read or self._repeats[number]:
                continue
            units = self._pieces.get(number, (_Unit(key, 0, len(document.text)),))
            for split, members in groupby(units, lambda unit: self._split_of(unit.key)):
                yield split, _part(document, list(members))
        if number + 1 != self._num_read or seen.digest() != self._seen.digest():
            fix = "begin again, and let nothing write to the files meanwhile"
            raise UserError("data.paths", "they changed while they were read", fix)

    def _split_of(self, key: bytes) -> Split:
        return "test" if key > self._last else "validation" if key < self._first else "train"

    def _cut_long(self, total: int, log: Log) -> dict[int, list[_Unit]]:
        """The pieces of each document that is too long, by its number."""
        found: dict[int, list[_Unit]] = {}
        names: list[str] = []
        for number, document in enumerate(self._read()):
            # Where there are more documents than before, the files change, which `parts` tells of.
            is_new = number < self._num_read and not self._repeats[number]
            if is_new and len(document.text) > self._longest:
                names.append(document.name)
                key = digest_of(document.text)
                bounds = [0, *self._cut.places(document.text, self._longest // 2), len(document.text)]
                keys = (hashlib.sha256(key + index.to_bytes(8)).digest() for index in range(len(bounds) - 1))
                found[number] = [_Unit(one, *place) for one, place in zip(keys, pairwise(bounds), strict=True)]
        log(
            f"{len(found)} document(s) would take too much of a held-out split of {total // _PARTS:,} bytes: cut "
            f"{self._cut.told}, and the pieces spread over the splits, which are not independent works: "
            f"{first_names(names)}"
        )
        return found


def _part(document: Document, units: list[_Unit]) -> Document:
    """What lies between the first unit's start and the last one's end."""
    start, stop = units[0].start, units[-1].stop
    if stop - start == len(document.text):
        return document
    return Document(f"{document.name}[{start}:{stop}]", document.text[start:stop])


def _boundary(units: Iterable[tuple[bytes, int]], wanted: float) -> bytes:
    """The first key of an order that is left out, so that the sizes before it come nearest to what is wanted.

    They are not under half of it.
    """
    taken = 0
    for key, size in units:
        if taken >= wanted / 2 and taken + size - wanted >= wanted - taken:
            return key
        taken += size
    raise AssertionError("no unit is as large as the whole")


def text_cuts(text: Text, piece: int) -> list[int]:
    """Where a text is cut: into even pieces of at most so many bytes, each cut moved back by at most half of one."""
    count = -(-len(text) // piece)
    step = len(text) / count
    return [_cut(text, int((number - 0.5) * step), int(number * step)) for number in range(1, count)]


def _cut(text: Text, low: int, high: int) -> int:
    """The last good place to cut in (low, high]."""
    around, end = bytes(text[low : high + 1]), high - low
    if blank := list(_BLANK_LINE.finditer(around, 0, end)):
        return low + blank[-1].end()
    if (line := around.rfind(b"\n", 0, end)) >= 0:
        return low + line + 1
    while end > 1 and around[end] & 0xC0 == 0x80:
        end -= 1
    return low + end
