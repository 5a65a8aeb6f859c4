"""Byte-level BPE (Sennrich et al., arXiv:1508.07909; over bytes as in GPT-2), trained on the corpus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import numpy as np
import tokenizers
from numpy.typing import NDArray

from harmony_core.data.tokenizer import TokenizerKind

# More text than this hardly changes the merges, and training takes longer and longer.
TRAINING_BYTES = 64 * 2**20
# A merge takes time that grows with the square of a word's length: a line without spaces, which is one word, would take
# hours. No word of a text with spaces is as long as this.
_TRAINING_WORD_BYTES = 1024
# Text is encoded in pieces: one call's memory grows with its text, and pieces run in parallel.
_PIECE_CHARACTERS, _PIECES_A_CALL = 2**16, 64
# Python decodes a byte that is not UTF-8 to one of these, if asked to ("surrogateescape").
_ODD = re.compile("([\udc80-\udcff]+)")
_EMPTY = np.empty(0, dtype=np.uint32)


def byte_of_character() -> dict[str, int]:
    """GPT-2's alphabet: printable Latin-1 characters stand for themselves, other bytes follow from 256 on."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = {chr(byte): byte for byte in printable}
    return shown | {chr(256 + number): byte for number, byte in enumerate(others)}


class BpeTokenizer:
    """A trained byte-level BPE.

    The separator is not in the tokenizer's file: text that spells it out could not be told from it then.

    Args:
        content: a tokenizer.json as `tokenizers` writes it.

    Raises:
        ValueError: it is none, or not one over bytes.
    """

    kind: TokenizerKind = "bpe"

    def __init__(self, content: str) -> None:
        encoder = read_encoder(content)
        vocabulary = _vocabulary(encoder)
        self._set_up(content, encoder, [*vocabulary, b""], len(vocabulary))

    def _set_up(self, content: str, encoder: tokenizers.Tokenizer, texts: list[bytes], separator: int) -> None:
        """Takes an encoder and the bytes of every token, in the order of their numbers."""
        self._content, self._encoder, self._bytes = content, encoder, texts
        numbers = encoder.get_vocab(with_added_tokens=True)
        self._single = {bytes([byte]): numbers[character] for character, byte in byte_of_character().items()}
        self.vocab_size, self.separator = len(texts), separator

    @classmethod
    def train(cls, texts: Iterable[bytes], vocab_size: int) -> BpeTokenizer:
        """Learns merges from the texts' first 64 MiB; the same texts give the same tokenizer.

        Args:
            texts: documents, any bytes (what is not UTF-8 is passed over here, not in encoding).
            vocab_size: tokens with the separator; fewer come out when the texts have no more merges.
        """
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        words = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
        short_words = tokenizers.pre_tokenizers.FixedLength(length=_TRAINING_WORD_BYTES)
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Sequence([words, short_words])
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size - 1,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(_training_pieces(texts), trainer)
        # Merges are learned from the pieces of a long word and applied to the whole of it.
        tokenizer.pre_tokenizer = words
        return cls(tokenizer.to_str(pretty=False))

    @property
    def token_bytes(self) -> NDArray[np.int64]:
        """Bytes that each token stands for, [vocab_size]; 0 for the separator."""
        return np.array([len(text) for text in self._bytes], dtype=np.int64)

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """Token ids, [N]; bytes that are not UTF-8 become one token each."""
        found: list[NDArray[np.uint32]] = []
        batch: list[str] = []
        for part in _valid_and_odd(text):
            if isinstance(part, str):
                batch.append(part)
            if isinstance(part, bytes) or len(batch) == _PIECES_A_CALL:
                found += self._encode_batch(batch)
                batch = []
            if isinstance(part, bytes):
                found.append(np.array([self._single[bytes([byte])] for byte in part], dtype=np.uint32))
        return np.concatenate([_EMPTY, *found, *self._encode_batch(batch)])

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The text of token ids; separators stand for none."""
        return b"".join(self._bytes[token] for token in tokens)

    def to_json(self) -> str:
        """The tokenizer.json, readable by `tokenizers` and `transformers`."""
        return self._content

    def _encode_batch(self, batch: list[str]) -> list[NDArray[np.uint32]]:
        encodings = self._encoder.encode_batch_fast(batch, add_special_tokens=False)
        return [np.array(encoding.ids, dtype=np.uint32) for encoding in encodings]


def read_encoder(content: str) -> tokenizers.Tokenizer:
    """The library's tokenizer of a tokenizer.json.

    Raises:
        ValueError: it is none.
    """
    try:
        return tokenizers.Tokenizer.from_str(content)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        # The library raises no narrower class, and its panics are no `Exception`.
        raise ValueError(error) from None


def _vocabulary(tokenizer: tokenizers.Tokenizer) -> list[bytes]:
    """The bytes of every token, in the order of their numbers."""
    numbers: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    alphabet = byte_of_character()
    tokens = sorted(numbers, key=lambda token: numbers[token])
    if [numbers[token] for token in tokens] != list(range(len(tokens))) or not numbers.keys() >= alphabet.keys():
        raise ValueError("its tokens do not number every byte")
    try:
        return [bytes(alphabet[character] for character in token) for token in tokens]
    except KeyError as error:
        raise ValueError(f"{error} stands for no byte") from None


def _training_pieces(texts: Iterable[bytes]) -> Iterator[str]:
    left = TRAINING_BYTES
    for text in texts:
        yield from _pieces(text[:left].decode("utf-8", errors="ignore"))
        left -= len(text)
        if left <= 0:
            return


def _pieces(text: str) -> Iterator[str]:
    """Cuts at line ends, where the tokenizer would nearly always cut too, or in a line that is too long."""
    start = 0
    while start < len(text):
        line_end = text.find("\n", start + _PIECE_CHARACTERS, start + 2 * _PIECE_CHARACTERS)
        stop = line_end + 1 if line_end >= 0 else start + 2 * _PIECE_CHARACTERS
        yield text[start:stop]
        start = stop


def _valid_and_odd(text: bytes) -> Iterator[str | bytes]:
    """The text in order: pieces of valid UTF-8 as str, what lies between as bytes."""
    for number, part in enumerate(_ODD.split(text.decode("utf-8", errors="surrogateescape"))):
        if number % 2:
            yield part.encode("utf-8", errors="surrogateescape")
        else:
            yield from _pieces(part)
