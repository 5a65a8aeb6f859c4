"""A person's own text: files and folders, read in sorted order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harmony_core.data.corpus import Log, Splits
from harmony_core.data.encoding import first_names, shown
from harmony_core.data.listing import TextFile, list_files
from harmony_core.data.splitting import split_documents
from harmony_core.data.textfile import documents_in, read_bytes
from harmony_core.errors import UserError

# Raise it when the same files give other documents or other splits than before.
READING_VERSION = 2


class FilesSource:
    """Text and JSON files; a text file is a document, and so is each record of JSON."""

    name = "files"
    licence = "The text's own; it is not known here."

    def __init__(self, paths: Sequence[str], text_key: str) -> None:
        self._paths, self._text_key = [Path(path) for path in paths], text_key
        self.origin = ", ".join(shown(path) for path in paths)

    def fingerprint(self) -> object:
        """The content of every file and how it is read, so that changed text is new data; reads them all."""
        files = list_files(self._paths).files
        has_records = any(file.kind.form != "text" for file in files)
        return {
            "reading": READING_VERSION,
            "files": [_fingerprint(file) for file in files],
            "text_key": self._text_key if has_records else None,
        }

    def documents(self, log: Log) -> Splits:
        """Every file's documents; the split follows from their content (see `split_documents`)."""
        files, others = list_files(self._paths)
        leaving = f", leaving out {len(others)}: {first_names(others)}" if others else ""
        log(f"reading {len(files)} file(s) of {self.origin}{leaving}")
        documents = [
            document
            for path, name, kind in files
            for document in documents_in(read_bytes(path), kind, name, self._text_key, shown(path), log)
            if document.text
        ]
        if not documents:
            raise UserError("data.paths", self.origin, "the files are empty; name files with text")
        return split_documents(documents, log)


def _fingerprint(file: TextFile) -> list[str]:
    compression = file.kind.compression.name if file.kind.compression else ""
    return [file.kind.form, compression, hashlib.sha256(read_bytes(file.path)).hexdigest()]
