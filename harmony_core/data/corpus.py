"""What a corpus is: named documents in three splits, and the protocol that every source follows."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple, Protocol

from harmony_core.data.longtext import Text

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")

Log = Callable[[str], None]


class Document(NamedTuple):
    """One text; `name` says where it came from (a work, a file, a line of a JSONL file).

    A long text can be read until the next document is asked for.
    """

    name: str
    text: Text


class LeftOut(NamedTuple):
    """What was read and is in no split.

    Args:
        duplicates: documents whose text is there already.
        bad_records: lines, rows and records that were skipped on request.
    """

    duplicates: int = 0
    bad_records: int = 0


class Corpus(Protocol):
    """Documents with the split of each, as often as they are asked for."""

    @property
    def left_out(self) -> LeftOut:
        """What was read and is in no split."""

    def parts(self) -> Iterator[tuple[Split, Document]]:
        """Every document once; the same each time, those of a split always in the same order."""


class Splits(dict[Split, list[Document]]):
    """A corpus that is held in memory."""

    left_out = LeftOut()

    def parts(self) -> Iterator[tuple[Split, Document]]:
        """Split by split."""
        for split in SPLITS:
            yield from ((split, document) for document in self[split])


class Unfetchable(Exception):
    """A source cannot be reached from here (no network, no pip); the reason is the message."""


class Source(Protocol):
    """Where text comes from."""

    @property
    def name(self) -> str:
        """The source's name in a `DataConfig`."""

    @property
    def origin(self) -> str:
        """What exactly is read: package and hash, version, paths."""

    @property
    def licence(self) -> str:
        """Licence and attribution of the text, for the manifest."""

    def fingerprint(self) -> object:
        """A JSON value that changes when the text would; found without fetching anything."""

    def documents(self, log: Log) -> Corpus:
        """The text, split so that no document is in two splits.

        Raises:
            Unfetchable: it cannot be reached; another source may be taken instead.
            UserError: it was reached and is not what it should be.
        """


def hashed_split(key: bytes) -> Split:
    """The split of a key: about 5% validation and 5% test, the same on every machine and in every run."""
    bucket = int.from_bytes(hashlib.sha256(key).digest()[:4]) % 20
    return "validation" if bucket == 0 else "test" if bucket == 1 else "train"
