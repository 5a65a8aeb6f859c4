"""`checkpoint.json`: what a checkpoint holds, and by what it is known to be whole."""

from __future__ import annotations

import json
import zlib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from harmony_core.atomic import atomic_write
from harmony_core.base import Frozen, canonical_json
from harmony_core.errors import UserError

MANIFEST = "checkpoint.json"
FORMAT_VERSION = 1

Content = TypeVar("Content", bound=Frozen)


class Damaged(UserError):
    """A checkpoint, or a receipt of one, is not what was written."""


class StoredPiece(Frozen):
    """Elements [start, start + length) of the `size` elements of `name`, as tensor `key` of a file."""

    name: str
    start: int
    length: int
    size: int
    dtype: str
    key: str


class StoredFile(Frozen):
    """A rank's file: its name, size in bytes, CRC-32 and pieces. Alone, it is the receipt for that file."""

    name: str
    num_bytes: int
    crc32: int
    pieces: tuple[StoredPiece, ...]


class Manifest(Frozen):
    """All of a checkpoint but the values.

    Args:
        format_version: of this file.
        step: optimiser steps done.
        world_size: ranks that wrote it.
        score: the lower the better; None if nothing was measured.
        facts: what the trainer says of itself, any JSON.
        files: one for each rank that had something to save.
    """

    format_version: int
    step: int
    world_size: int
    score: float | None
    facts: dict[str, Any]
    files: tuple[StoredFile, ...]

    def write(self, folder: Path) -> None:
        """Writes it into `folder`, with a checksum of itself."""
        atomic_write(folder / MANIFEST, _sealed(self.model_dump()))

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of the checkpoint in `folder`.

        Raises:
            Damaged: it is missing, cut short or changed.
            UserError: another version of HARMONY wrote it.
        """
        path = folder / MANIFEST
        content = _unsealed(path)
        version = content.get("format_version")
        if version != FORMAT_VERSION:
            raise UserError(
                f"{path}.format_version", version, f"this HARMONY reads {FORMAT_VERSION}; use the other one"
            )
        return _parsed(cls, content, path)


def write_receipt(path: Path, file: StoredFile) -> None:
    """Says that `file` is on the disk."""
    atomic_write(path, _sealed(file.model_dump()))


def read_receipt(path: Path) -> StoredFile:
    """What a rank says of its file; `Damaged` if it cannot be read."""
    return _parsed(StoredFile, _unsealed(path), path)


def _sealed(content: dict[str, Any]) -> bytes:
    text = canonical_json(content)
    return f'{{"crc32":{zlib.crc32(text.encode())},"content":{text}}}\n'.encode()


def _unsealed(path: Path) -> dict[str, Any]:
    """The content, if it is what its checksum was made of."""
    try:
        sealed = json.loads(path.read_bytes())
        content = sealed["content"]
        # Canonical text is the same after reading: keys are sorted, and floats are written so that they read back
        # equal.
        if zlib.crc32(canonical_json(content).encode()) == sealed["crc32"] and isinstance(content, dict):
            return content
    except OSError as error:
        raise Damaged(str(path), error.strerror, "use another checkpoint") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    raise Damaged(str(path), "not what was written", "use another checkpoint")


def _parsed(kind: type[Content], content: dict[str, Any], path: Path) -> Content:
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise Damaged(str(path), f"not a {kind.__name__}", "use another checkpoint") from error
