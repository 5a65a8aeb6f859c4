"""A person's own text: files and folders, read in sorted order."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from harmony_core.data.corpus import Log, Splits
from harmony_core.data.splitting import split_documents
from harmony_core.data.textfile import (
    DECOMPRESS,
    TEXT_SUFFIXES,
    is_text,
    is_unknown_compression,
    read_bytes,
    read_documents,
)
from harmony_core.errors import UserError

_READABLE = f"{', '.join(TEXT_SUFFIXES)}, plain or with {', '.join(DECOMPRESS)}"


class FilesSource:
    """Text and JSONL files; a file is a document, and so is a line of JSONL."""

    name = "files"
    licence = "The text's own; it is not known here."

    def __init__(self, paths: Sequence[str], text_key: str) -> None:
        self._paths, self._text_key = [Path(path) for path in paths], text_key
        self.origin = ", ".join(paths)

    def fingerprint(self) -> object:
        """The content of every file, so that changed text is new data; reads them all."""
        hashes = [hashlib.sha256(read_bytes(path)).hexdigest() for path, _ in self._files()]
        return {"files": hashes, "text_key": self._text_key}

    def documents(self, log: Log) -> Splits:
        """Every file's documents; the split follows from their content (see `split_documents`)."""
        files = list(self._files())
        log(f"reading {len(files)} file(s) of {self.origin}")
        documents = [
            document for path, name in files for document in read_documents(path, name, self._text_key) if document.text
        ]
        if not documents:
            raise UserError("data.paths", self.origin, "the files are empty; name files with text")
        return split_documents(documents, log)

    def _files(self) -> Iterator[tuple[Path, str]]:
        """Each file once, with its name in the manifest."""
        seen: set[Path] = set()
        for top in self._paths:
            if top.is_dir():
                found = [(path, path.relative_to(top).as_posix()) for path in _walk(top)]
                if not found:
                    raise UserError("data.paths", top, f"no text in this folder; it needs files in {_READABLE}")
            elif top.exists() and not is_text(top):
                raise UserError("data.paths", top, f"unknown kind of file; use {_READABLE}")
            else:
                found = [(top, top.name)]
            for path, name in found:
                if (real := _real(path)) not in seen:
                    seen.add(real)
                    yield path, name


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except RuntimeError:
        # Not an OSError before Python 3.13.
        raise UserError(str(path), "a loop of symbolic links", "name a file that exists and is readable") from None


def _walk(top: Path) -> list[Path]:
    """The text files under a folder, sorted by path, hidden ones left out."""

    def refuse(error: OSError) -> None:
        raise UserError(str(error.filename), error.strerror, "make this folder readable, or name another")

    found: list[Path] = []
    for folder, children, files in os.walk(top, onerror=refuse):
        children[:] = [child for child in children if not child.startswith(".")]
        found.extend(Path(folder, name) for name in files if not name.startswith("."))
    for path in found:
        if is_unknown_compression(path):
            raise UserError(str(path), path.suffix, f"unknown compression; use {_READABLE}")
    return sorted((path for path in found if is_text(path)), key=lambda path: path.relative_to(top).parts)
