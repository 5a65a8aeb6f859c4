"""Configuration of a corpus and its tokenizer."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, SerializationInfo, SerializerFunctionWrapHandler, model_serializer, model_validator

from harmony_core import bounds
from harmony_core.base import Frozen
from harmony_core.errors import UserError

SourceName = Literal["shakespeare", "installed-python", "files", "tokens", "synthetic"]

# Fields that searches from before them have not.
_LATER = ("skip_bad_records", "token_dtype", "tokenizer_file", "separator")


class DataConfig(Frozen):
    """Which text, and how it becomes tokens.

    Args:
        source: `shakespeare` (fetched, pinned by hash), `installed-python` (the standard library's own
            source), `files` (your text, JSON or tables), `tokens` (ids in .npy and .bin files, of tokenizer `byte` or
            `file`), `synthetic` (seeded).
        fallback: source taken, and said, when `shakespeare` cannot be fetched; the others need no fetching.
        paths: files, folders or patterns (`~/corpus/*.jsonl.gz`) for `files` and `tokens`.
        text_key: key of the text in JSON, column of the text in a table.
        skip_bad_records: leave out and count lines, records and rows that have no text; else the first is refused.
        token_dtype: of an id in .bin files; .npy files say it themselves.
        tokenizer: `byte`, `bpe` trained on the training split, or `file`, your own.
        tokenizer_file: the tokenizer.json (a byte-level BPE) of tokenizer `file`.
        separator: of tokenizer `file`, the special token that stands before each document.
        vocab_size: tokens of a `bpe` tokenizer, separator included; a small text may give fewer.
        max_bytes: use no more than this much text of each split; None is all.
        seed: seed of `synthetic`.
    """

    source: SourceName = "shakespeare"
    fallback: Literal["installed-python", "synthetic"] | None = "installed-python"
    paths: tuple[str, ...] = ()
    text_key: str = "text"
    skip_bad_records: bool = False
    token_dtype: Literal["uint8", "uint16", "uint32", "uint64", "int16", "int32", "int64"] | None = None
    tokenizer: Literal["byte", "bpe", "file"] = "byte"
    tokenizer_file: str | None = None
    separator: str = "<|endoftext|>"
    vocab_size: int = Field(default=4096, ge=258, le=1_000_000)
    max_bytes: int | None = Field(default=None, ge=1, le=bounds.TEXT_BYTES)
    seed: int = Field(default=0, ge=0, le=bounds.SEED)

    @model_serializer(mode="wrap")
    def _short(self, write: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Without what was added later where it says nothing, unless all is asked for: hashes stay what they were."""
        data: dict[str, Any] = write(self)
        for name in _LATER:
            if getattr(self, name) == type(self).model_fields[name].default and not (info.context or {}).get("all"):
                data.pop(name, None)
        return data

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        has_paths = self.source in ("files", "tokens")
        if has_paths and not self.paths:
            raise UserError("paths", "none", f"source {self.source!r} needs them; list files or folders")
        if self.paths and not has_paths:
            fix = f"not read by source {self.source!r}; use source 'files' or 'tokens'"
            raise UserError("paths", ", ".join(self.paths), fix)
        if self.source == "tokens" and self.tokenizer == "bpe":
            fix = "tokens have a tokenizer already; use 'file' with its tokenizer.json, or 'byte'"
            raise UserError("tokenizer", self.tokenizer, fix)
        if self.source == "tokens" and self.max_bytes is not None:
            raise UserError("max_bytes", self.max_bytes, "source 'tokens' has no text to count; leave it out")
        if self.tokenizer == "file" and not self.tokenizer_file:
            raise UserError("tokenizer_file", "none", "tokenizer 'file' needs it; name a tokenizer.json")
        if self.tokenizer != "file" and self.tokenizer_file is not None:
            fix = f"not read by tokenizer {self.tokenizer!r}; use tokenizer 'file'"
            raise UserError("tokenizer_file", self.tokenizer_file, fix)
        return self
