"""Configuration of a corpus and its tokenizer."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from harmony_core import bounds
from harmony_core.base import Frozen
from harmony_core.errors import UserError

SourceName = Literal["shakespeare", "installed-python", "files", "synthetic"]


class DataConfig(Frozen):
    """Which text, and how it becomes tokens.

    Args:
        source: `shakespeare` (fetched, pinned by hash), `installed-python` (the standard library's own
            source), `files` (your text or JSON, plain or compressed), `synthetic` (seeded).
        fallback: source taken, and said, when `shakespeare` cannot be fetched; the others need no fetching.
        paths: files or folders for `files`; JSON has its text under `text_key`.
        text_key: key of the text in JSON.
        tokenizer: `byte`, or `bpe` trained on the training split.
        vocab_size: tokens of a `bpe` tokenizer, separator included; a small text may give fewer.
        max_bytes: use no more than this much text of each split; None is all.
        seed: seed of `synthetic`.
    """

    source: SourceName = "shakespeare"
    fallback: Literal["installed-python", "synthetic"] | None = "installed-python"
    paths: tuple[str, ...] = ()
    text_key: str = "text"
    tokenizer: Literal["byte", "bpe"] = "byte"
    vocab_size: int = Field(default=4096, ge=258, le=1_000_000)
    max_bytes: int | None = Field(default=None, ge=1, le=bounds.TEXT_BYTES)
    seed: int = Field(default=0, ge=0, le=bounds.SEED)

    @model_validator(mode="after")
    def _check(self) -> DataConfig:
        if self.source == "files" and not self.paths:
            raise UserError("paths", "none", "source 'files' needs them; list files or folders")
        if self.source != "files" and self.paths:
            raise UserError("paths", ", ".join(self.paths), f"not read by source {self.source!r}; use source 'files'")
        return self
