"""What a data folder says of itself: what is in it, where it came from, and the checksums of it all."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import Field

from harmony_core.atomic import PASSING, patiently
from harmony_core.base import Frozen, canonical_json
from harmony_core.data.corpus import SPLITS, Split
from harmony_core.data.tokenizer import TokenizerKind
from harmony_core.errors import UserError

FILE_NAME = "manifest.json"
FORMAT_VERSION: Literal[1] = 1
# The manifest keeps so many names of documents a split; a JSONL file may hold millions.
MAX_NAMES = 1000
# Key of the checksum over all the other keys of the file.
_SELF = "manifest_sha256"


class ShardRecord(Frozen):
    """One file of tokens.

    Args:
        file: its name in the folder.
        tokens: how many.
        sha256: hex digest of its bytes.
    """

    file: str = Field(pattern=r"^[\w.-]+$")
    tokens: int = Field(ge=1)
    sha256: str


class SplitRecord(Frozen):
    """One split.

    Args:
        tokens: in all shards, separators included.
        bytes: of text.
        num_documents: how many documents.
        documents: their names, the first 1000 of them.
        shards: its files, in order.
    """

    tokens: int = Field(ge=1)
    bytes: int = Field(ge=1)
    num_documents: int = Field(ge=1)
    documents: tuple[str, ...]
    shards: tuple[ShardRecord, ...] = Field(min_length=1)


class DataManifest(Frozen):
    """Everything about a data folder.

    Args:
        id: the folder's name, a digest of the configuration (and of the content of `files`).
        source: the source that was read.
        requested: the source that was asked for; another one than `source` if that could not be fetched.
        origin: what exactly was read.
        licence: licence and attribution of the text.
        tokenizer: `byte` or `bpe`.
        tokenizer_checksum: SHA-256 of tokenizer.json.
        vocab_size: tokens, separator included.
        separator: the token before each document.
        dtype: numpy's name of a token on disk, little endian.
        splits: the three splits.
        checksum: SHA-256 over tokenizer and shards: equal checksums mean equal tokens.
    """

    format_version: Literal[1] = FORMAT_VERSION
    id: str
    source: str
    requested: str
    origin: str
    licence: str
    tokenizer: TokenizerKind
    tokenizer_checksum: str
    vocab_size: int
    separator: int
    dtype: Literal["<u2", "<u4"]
    splits: dict[Split, SplitRecord] = Field(min_length=len(SPLITS))
    checksum: str

    @classmethod
    def load(cls, folder: Path | str) -> DataManifest:
        """Reads a folder's manifest.

        Raises:
            UserError: it is missing, unreadable, or does not agree with its own checksum.
        """
        path = Path(folder) / FILE_NAME
        try:
            content = patiently(path.read_bytes)
        except OSError as error:
            fix = "prepare the data first (`harmony_core.data.prepare`), or name its folder"
            raise unreadable(path, error, fix) from None
        try:
            fields = json.loads(content)
            if fields.pop(_SELF) != _sha256(fields):
                raise ValueError("not what was written")
            if (version := fields["format_version"]) != FORMAT_VERSION:
                raise UserError(str(path), f"format version {version}", f"of another HARMONY; {redo(folder)}")
            return cls.model_validate(fields)
        except UserError:
            raise
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
            raise UserError(str(path), "corrupted", redo(folder)) from None

    def to_json(self) -> str:
        """The content of its file: the fields, and a checksum over them."""
        fields = self.model_dump(mode="json")
        return json.dumps({**fields, _SELF: _sha256(fields)}, indent=2) + "\n"


def data_checksum(tokenizer_checksum: str, splits: dict[Split, SplitRecord]) -> str:
    """SHA-256 over the tokenizer's and all shards' checksums, in the order of splits, hex."""
    shards = [[shard.sha256 for shard in splits[split].shards] for split in SPLITS]
    value = {"tokenizer": tokenizer_checksum, "shards": shards}
    return _sha256(value)


def _sha256(value: object) -> str:
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def redo(folder: Path | str) -> str:
    """The way out of any damage to a data folder, as an imperative."""
    return f"delete the folder {folder} and prepare the data again"


def unreadable(path: Path, error: OSError, if_missing: str) -> UserError:
    """The error of a file that cannot be opened or read; where the data may be whole, it does not say to make it again.

    Args:
        path: the file.
        error: what the system said.
        if_missing: what to do where there is no such file.
    """
    if isinstance(error, PermissionError):
        fix = "ask its owner for the right to read it"
    elif error.errno in PASSING:
        fix = "the file system does not give it, and the data may be whole: read it on another node first"
    else:
        fix = if_missing
    return UserError(str(path), error.strerror, fix)
