"""Splits a person's own documents by a stable hash of what is in them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from harmony_core.data.corpus import SPLITS, Document, Log, Split, Splits, hashed_split

VALIDATION_STARTS, TEST_STARTS = 0.90, 0.95


def split_documents(documents: Sequence[Document], log: Log) -> Splits:
    """Puts each document into one split.

    A document's split depends on its content alone, so that renaming, reordering or copying files moves
    nothing and equal texts never stand on both sides. With three different documents or more, every split
    gets at least one, the shortest where chance gave it none; with fewer, each document is cut by position, and
    the log says so.
    """
    keys = [hashlib.sha256(document.text).digest() for document in documents]
    if len(set(keys)) < len(SPLITS):
        log(
            f"only {len(set(keys))} different document(s): each is cut by position into train (first 90%), "
            "validation and test (5% each); the splits are not independent works"
        )
        return _by_position(documents)
    assigned = _assign({key: len(document.text) for key, document in zip(keys, documents, strict=True)})
    splits: Splits = {split: [] for split in SPLITS}
    for key, document in zip(keys, documents, strict=True):
        splits[assigned[key]].append(document)
    return splits


def _assign(lengths: dict[bytes, int]) -> dict[bytes, Split]:
    """The split of each document, by the digest and length [bytes] of its text."""
    assigned = {key: hashed_split(key) for key in sorted(lengths, key=lambda key: (lengths[key], key))}
    for split in SPLITS:
        if split not in assigned.values():
            members = {s: [key for key in assigned if assigned[key] == s] for s in SPLITS}
            donor = max(SPLITS, key=lambda s: len(members[s]))
            assigned[members[donor][0]] = split
    return assigned


def _by_position(documents: Sequence[Document]) -> Splits:
    splits: Splits = {split: [] for split in SPLITS}
    unique = {document.text: document for document in documents}
    for document in unique.values():
        first, second = (_cut(document.text, share) for share in (VALIDATION_STARTS, TEST_STARTS))
        bounds = (0, first, second, len(document.text))
        for split, start, stop in zip(SPLITS, bounds, bounds[1:], strict=False):
            if start < stop:
                splits[split].append(Document(f"{document.name}[{start}:{stop}]", document.text[start:stop]))
    return splits


def _cut(text: bytes, share: float) -> int:
    """A place to cut near `share` of the text: after a line where one ends soon, never inside a character."""
    position = int(len(text) * share)
    line_end = text.find(b"\n", position, position + max(1, len(text) // 50))
    if line_end >= 0:
        return line_end + 1
    while position < len(text) and text[position] & 0xC0 == 0x80:
        position += 1
    return position
