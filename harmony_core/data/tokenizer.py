"""What every tokenizer does, and the byte tokenizer, which needs no training."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

TokenizerKind = Literal["byte", "bpe", "file"]


class Tokenizer(Protocol):
    """Lossless for any bytes: `decode(encode(text)) == text`."""

    @property
    def kind(self) -> TokenizerKind:
        """Its name in a `DataConfig`."""

    @property
    def vocab_size(self) -> int:
        """Tokens, separator included."""

    @property
    def separator(self) -> int:
        """The token that stands before each document, which no text encodes to; the last id, but in a person's own."""

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        """Bytes that each token stands for, [vocab_size]; 0 for the separator, and for what no text encodes to."""

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """Token ids, [N]."""

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The text of token ids; separators stand for none."""

    def to_json(self) -> str:
        """The content of its file."""


class ByteTokenizer:
    """One token a byte, and one separator."""

    kind: TokenizerKind = "byte"
    vocab_size = 257
    separator = 256

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        """Ones, and 0 for the separator, [257]."""
        token_bytes = np.ones(self.vocab_size, dtype=np.int64)
        token_bytes[self.separator] = 0
        return token_bytes

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """The bytes as they are, [N]."""
        return np.frombuffer(text, dtype=np.uint8).astype(np.uint32)

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The bytes; separators stand for none."""
        return bytes(token for token in tokens if token != self.separator)

    def to_json(self) -> str:
        """Nothing but what it is."""
        return json.dumps({"kind": self.kind, "vocab_size": self.vocab_size}) + "\n"


def checksum(tokenizer: Tokenizer) -> str:
    """SHA-256 of the tokenizer's file, hex."""
    return hashlib.sha256(tokenizer.to_json().encode()).hexdigest()
