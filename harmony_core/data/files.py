"""A person's own text: files and folders, read in sorted order and never held as a whole."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from harmony_core.data.corpus import Corpus, Document, Log
from harmony_core.data.encoding import first_names, shown
from harmony_core.data.listing import Listing, TextFile, list_files
from harmony_core.data.records import Reading, refuse
from harmony_core.data.splitting import SplitDocuments
from harmony_core.data.textfile import file_documents
from harmony_core.errors import UserError

# Raise it when the same files give other documents or other splits than before.
READING_VERSION = 2


class FilesSource:
    """Text, JSON and tables; a text file is a document, and so is each record of JSON and each row of a table.

    Args:
        paths: files, folders and patterns.
        text_key: key or column of the text.
        skip_bad_records: whether a record that is none is left out and counted; else it is refused.
    """

    name = "files"
    licence = "The text's own; it is not known here."

    def __init__(self, paths: Sequence[str], text_key: str, skip_bad_records: bool = False) -> None:
        self._paths, self._text_key, self._skips = paths, text_key, skip_bad_records
        self.origin = ", ".join(shown(path) for path in paths)

    def fingerprint(self) -> object:
        """The content of every file and how it is read, so that changed text is new data; reads them all."""
        files = list_files(self._paths).files
        has_records = any(file.kind.form != "text" for file in files)
        found: dict[str, object] = {
            "reading": READING_VERSION,
            "files": [_fingerprint(file) for file in files],
            "text_key": self._text_key if has_records else None,
        }
        # Without this key an id is what it was before there was a choice.
        return found | {"skips": True} if self._skips and has_records else found

    def documents(self, log: Log) -> Corpus:
        """Every file's documents; the split follows from their content (see `SplitDocuments`)."""
        listing = list_files(self._paths)
        log(f"reading {len(listing.files)} file(s) of {self.origin}{_leaving(listing)}")
        reader = _Reader(listing.files, self._text_key, self._skips, log)
        for _ in reader.documents():
            break
        else:
            told = f"; the first bad record: {reader.bad[0]}" if reader.bad else ""
            raise UserError("data.paths", self.origin, f"the files are empty; name files with text{told}")
        return SplitDocuments(reader.documents, log, bad_records=lambda: reader.num_bad)


class _Reader:
    """Reads the same files again and again, telling what is odd in them the first time that it gets to the end.

    Args:
        files: in order.
        text_key: key or column of the text.
        skips: whether bad records are left out.
        log: told of what was replaced and left out.
    """

    def __init__(self, files: Sequence[TextFile], text_key: str, skips: bool, log: Log) -> None:
        self._files, self._text_key, self._skips, self._log = files, text_key, skips, log
        self.bad: list[UserError] = []
        self.num_bad = 0
        self._told = False

    def documents(self) -> Iterator[Document]:
        """Every document that has text."""
        self.bad, self.num_bad = [], 0
        lines: list[str] = []
        for path, name, kind in self._files:
            reading = Reading(name, shown(path), self._text_key, self._skip if self._skips else refuse, lines.append)
            for document in file_documents(path, kind, reading):
                if document.text:
                    yield document
        if not self._told:
            self._told = True
            for line in lines:
                self._log(line)
            if self.num_bad:
                told = "; ".join(map(str, self.bad))
                self._log(
                    f"skipped {self.num_bad} bad record(s): {told}{'; ...' if self.num_bad > len(self.bad) else ''}"
                )

    def _skip(self, error: UserError) -> None:
        self.num_bad += 1
        if len(self.bad) < 3:
            self.bad.append(error)


def _leaving(listing: Listing) -> str:
    return f", leaving out {len(listing.others)}: {first_names(listing.others)}" if listing.others else ""


def _fingerprint(file: TextFile) -> list[str]:
    compression = file.kind.compression.name if file.kind.compression else ""
    try:
        with file.path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise UserError(shown(file.path), error.strerror, "name a file that exists and is readable") from None
    return [file.kind.form, compression, digest]
