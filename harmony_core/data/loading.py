"""Loads the tokenizer of a data folder, and says how large one will be."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harmony_core.atomic import patiently
from harmony_core.data.config import DataConfig
from harmony_core.data.manifest import DataManifest, redo, unreadable
from harmony_core.data.tokenizer import ByteTokenizer, Tokenizer
from harmony_core.errors import UserError

TOKENIZER_FILE = "tokenizer.json"


def load_tokenizer(folder: Path | str, manifest: DataManifest | None = None) -> Tokenizer:
    """The tokenizer of a folder that `prepare` made.

    Args:
        folder: the folder.
        manifest: its manifest, if it was read already.

    Raises:
        UserError: the file is missing or is not what was written.
    """
    manifest = manifest or DataManifest.load(folder)
    path = Path(folder) / TOKENIZER_FILE
    try:
        content = patiently(path.read_bytes)
    except OSError as error:
        raise unreadable(path, error, redo(folder)) from None
    if hashlib.sha256(content).hexdigest() != manifest.tokenizer_checksum:
        raise UserError(str(path), "corrupted (its SHA-256 is not the manifest's)", redo(folder))
    if manifest.tokenizer == "byte":
        return ByteTokenizer()
    # The imports are here since the Snakefile reads a configuration of data, and no text.
    from harmony_core.data.bpe import BpeTokenizer
    from harmony_core.data.own_tokenizer import OwnTokenizer

    try:
        if manifest.tokenizer == "file":
            return OwnTokenizer(content.decode(), manifest.separator)
        return BpeTokenizer(content.decode())
    except ValueError as error:
        raise UserError(str(path), f"no byte-level BPE ({error})", redo(folder)) from None


def vocab_sizes(config: DataConfig) -> list[int]:
    """How many tokens there may be: the largest number, and the fewest where a text decides.

    Raises:
        UserError: a person's own tokenizer cannot be read.
    """
    if config.tokenizer == "bpe":
        return [config.vocab_size, ByteTokenizer.vocab_size]
    return [given_tokenizer(config).vocab_size]


def given_tokenizer(config: DataConfig) -> Tokenizer:
    """A tokenizer that no text decides: of bytes, or a person's own.

    Raises:
        UserError: their own cannot be read.
    """
    if config.tokenizer == "byte":
        return ByteTokenizer()
    from harmony_core.data.reading_tokenizer import read_own

    return read_own(config.tokenizer_file or "", config.separator)
