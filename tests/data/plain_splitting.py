"""The plain form of `SplitDocuments`, which holds all documents at once: what the streaming one is compared with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

from harmony_core.data.corpus import SPLITS, Document, Log, Split, Splits
from harmony_core.data.encoding import first_names
from harmony_core.errors import UserError

# Validation and test get one twentieth of the bytes each.
_PARTS = 20
# Smaller corpora would leave these splits a few words.
_MIN_BYTES = 200
# Where a quarter of a split is less than this, documents stay whole as long as a split can hold them: a piece of a few
# words is no text to evaluate on.
_SHORT_BYTES = 2048
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")


class _Unit(NamedTuple):
    """What goes into one split as a whole: a document, or a piece of one.

    Args:
        key: decides the split.
        document: its number.
        start: first byte.
        stop: byte after the last.
    """

    key: bytes
    document: int
    start: int
    stop: int


def split_plainly(documents: Sequence[Document], log: Log) -> Splits:
    """The splits, and the same words in the log."""
    texts: dict[bytes, Document] = {}
    for document in documents:
        texts.setdefault(hashlib.sha256(document.text).digest(), document)
    if len(texts) < len(documents):
        log(f"leaving out {len(documents) - len(texts)} document(s) whose text is there already")
    total = sum(len(document.text) for document in texts.values())
    if total < _MIN_BYTES:
        fix = f"too little for three splits; use at least {_MIN_BYTES}"
        raise UserError("data.paths", f"{total} bytes of different text", fix)
    units = _units(texts, total, log)
    assigned = _assign(units, total)
    splits = Splits({split: [] for split in SPLITS})
    kept = list(texts.values())
    for (number, split), members in groupby(units, lambda unit: (unit.document, assigned[unit.key])):
        joined, document = list(members), kept[number]
        start, stop = joined[0].start, joined[-1].stop
        whole = stop - start == len(document.text)
        part = document if whole else Document(f"{document.name}[{start}:{stop}]", document.text[start:stop])
        splits[split].append(part)
    return splits


def _units(texts: dict[bytes, Document], total: int, log: Log) -> list[_Unit]:
    """Every document, whole or in pieces, in order."""
    longest = max(total // (4 * _PARTS), min(_SHORT_BYTES, 2 * total // _PARTS))
    units: list[_Unit] = []
    cut: list[str] = []
    for number, (key, document) in enumerate(texts.items()):
        size = len(document.text)
        if size <= longest:
            units.append(_Unit(key, number, 0, size))
            continue
        cut.append(document.name)
        bounds = [0, *_cuts(document.text, longest // 2), size]
        for index, (start, stop) in enumerate(pairwise(bounds)):
            units.append(_Unit(hashlib.sha256(key + index.to_bytes(8)).digest(), number, start, stop))
    if cut:
        log(
            f"{len(cut)} document(s) would take too much of a held-out split of {total // _PARTS:,} bytes: cut at "
            f"paragraphs, and the pieces spread over the splits, which are not independent works: {first_names(cut)}"
        )
    return units


def _assign(units: Sequence[_Unit], total: int) -> dict[bytes, Split]:
    """The split of each key."""
    order = sorted(units)
    sizes = [unit.stop - unit.start for unit in order]
    first, last = _nearest(sizes, total / _PARTS), _nearest(reversed(sizes), total / _PARTS)
    assigned: dict[bytes, Split] = {unit.key: "train" for unit in order}
    assigned |= {unit.key: "validation" for unit in order[:first]}
    assigned |= {unit.key: "test" for unit in order[len(order) - last :]}
    return assigned


def _nearest(sizes: Iterable[int], wanted: float) -> int:
    """How many of the first sizes come nearest to what is wanted, and not under half of it."""
    taken = 0
    for count, size in enumerate(sizes):
        if taken >= wanted / 2 and taken + size - wanted >= wanted - taken:
            return count
        taken += size
    raise AssertionError("no unit is as large as the whole")


def _cuts(text: bytes, piece: int) -> list[int]:
    """Where a text is cut: into even pieces, each cut moved back by at most half of one."""
    count = -(-len(text) // piece)
    step = len(text) / count
    return [_cut(text, int((number - 0.5) * step), int(number * step)) for number in range(1, count)]


def _cut(text: bytes, low: int, high: int) -> int:
    """The last good place to cut in (low, high]."""
    if blank := list(_BLANK_LINE.finditer(text, low, high)):
        return blank[-1].end()
    if (line := text.rfind(b"\n", low, high)) >= 0:
        return line + 1
    while high > low + 1 and text[high] & 0xC0 == 0x80:
        high -= 1
    return high
