"""A person's own tokenizer.json: a byte-level BPE whose tokens stand for exactly the bytes of a text.

Bits per byte needs the bytes of each token. Those of a byte-level BPE follow from its vocabulary alone, as long as
nothing else changes the text; what would is refused by its name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harmony_core.data.bpe import BpeTokenizer, byte_of_character, read_encoder
from harmony_core.data.tokenizer import TokenizerKind
from harmony_core.errors import UserError

MAX_TOKENS = 1_000_000
# Of those that cut a text into words, these keep all of it.
_KEEPING = {"ByteLevel", "Digits", "FixedLength", "Punctuation", "Split", "UnicodeScripts"}
_SHOWN = 12


class OwnTokenizer(BpeTokenizer):
    """A byte-level BPE that was made elsewhere, with its own numbers and special tokens.

    A special token stands for no bytes, and no text is encoded to one, however it is spelt.

    Args:
        content: its tokenizer.json.
        separator: the special token that stands before each document, by name or number.

    Raises:
        ValueError: it is none, it does something else to a text, or has no such special token.
    """

    kind: TokenizerKind = "file"

    def __init__(self, content: str, separator: str | int) -> None:
        data = _parsed(content)
        if problem := next(_problems(data), None):
            raise ValueError(problem)
        encoder = read_encoder(content)
        encoder.no_truncation()
        encoder.no_padding()
        encoder.encode_special_tokens = True
        texts = _texts(encoder)
        _check_numbers(data, encoder)
        added = encoder.get_added_tokens_decoder()
        special = {token.content: number for number, token in added.items() if token.special}
        self.separator_name = _named(special, separator)
        self._set_up(content, encoder, texts, special[self.separator_name])

    @cached_property
    def token_bytes(self) -> NDArray[np.int64]:
        """Bytes that each token stands for, [vocab_size]; 0 for special tokens."""
        return np.array([len(text) for text in self._bytes], dtype=np.int64)

    def encode(self, text: bytes) -> NDArray[np.uint32]:
        """Token ids, [N]; arguments and pieces as for `BpeTokenizer.encode`.

        Raises:
            UserError: the tokens do not stand for the text, or a word takes the tokenizer's pattern too long.
        """
        try:
            found = super().encode(text)
        except (KeyboardInterrupt, SystemExit, UserError):
            raise
        except BaseException as error:
            # The library's panics are no `Exception`.
            raise UserError("data.tokenizer_file", str(error), "it cannot encode this text; use another") from None
        if (num_bytes := int(self.token_bytes[found].sum())) != len(text) or (found == self.separator).any():
            said = f"{num_bytes} bytes in its tokens where the text has {len(text)}"
            raise UserError("data.tokenizer_file", said, "it changes the text; use another")
        return found


def _parsed(content: str) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"no JSON ({error})") from None
    if not isinstance(data, dict) or not isinstance(data.get("model"), dict):
        raise ValueError("no tokenizer.json: a key 'model' is needed")
    return data


def _problems(data: dict[str, Any]) -> Iterator[str]:
    """What in a tokenizer.json would make other bytes of a text, each by its name."""
    model = data["model"]
    if (kind := model.get("type", "BPE")) != "BPE":
        yield f"its model is {kind!r}; a byte-level BPE is needed"
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(name):
            yield f"its model has a {name}; take it away"
    if (normalizer := data.get("normalizer")) and not _is_nothing(normalizer):
        yield f"its normalizer {_kind(normalizer)!r} changes the text; normalise your text and set it to null"
    steps = list(_steps(data.get("pre_tokenizer"), "pretokenizers"))
    kinds = [_kind(step) for step in steps]
    if kinds.count("ByteLevel") != 1:
        yield "it is no byte-level BPE: its pre_tokenizer has no ByteLevel, or several"
    for kind, step in zip(kinds, steps, strict=True):
        if kind not in _KEEPING:
            yield f"its pre_tokenizer {kind!r} may not keep all of the text"
        elif step.get("behavior") == "Removed":
            yield f"its pre_tokenizer {kind!r} removes what it finds"
        elif step.get("add_prefix_space"):
            yield "its pre_tokenizer puts a space before the text; set add_prefix_space to false"
    for token in data.get("added_tokens") or ():
        if isinstance(token, dict) and not token.get("special") and (token.get("lstrip") or token.get("rstrip")):
            yield f"its token {token.get('content')!r} swallows spaces beside it; set lstrip and rstrip to false"


def _is_nothing(normalizer: Any) -> bool:
    return _kind(normalizer) == "Sequence" and not list(_steps(normalizer, "normalizers"))


def _steps(value: Any, key: str) -> Iterator[dict[str, Any]]:
    """What a sequence of sequences does, one after another."""
    if _kind(value) == "Sequence" and isinstance(value.get(key), list):
        for one in value[key]:
            yield from _steps(one, key)
    elif isinstance(value, dict):
        yield value


def _kind(value: Any) -> str:
    return str(value.get("type")) if isinstance(value, dict) else ""


def _texts(encoder: Any) -> list[bytes]:
    """The bytes of every token by its number; none for special tokens and numbers that no token has."""
    alphabet = byte_of_character()
    own: dict[str, int] = encoder.get_vocab(with_added_tokens=False)
    added = encoder.get_added_tokens_decoder()
    numbers = [number for token, number in own.items() if number not in added] + list(added)
    if not numbers or len(set(numbers)) < len(numbers):
        raise ValueError("two tokens have one number, or it has none")
    if not own.keys() >= alphabet.keys() or any(own[character] in added for character in alphabet):
        raise ValueError("it is no byte-level BPE: its vocabulary has not every byte")
    if max(numbers) >= MAX_TOKENS:
        raise ValueError(f"its tokens have numbers up to {max(numbers)}; at most {MAX_TOKENS - 1} is possible")
    texts = [b""] * (max(numbers) + 1)
    for token, number in own.items():
        if all(character in alphabet for character in token):
            texts[number] = bytes(alphabet[character] for character in token)
    for number, token in added.items():
        texts[number] = b"" if token.special else token.content.encode()
    return texts


def _check_numbers(data: dict[str, Any], encoder: Any) -> None:
    """Refuses a file whose added tokens have other numbers than the library gives them."""
    for token in data.get("added_tokens") or ():
        if (number := encoder.token_to_id(token["content"])) != token["id"]:
            raise ValueError(f"its token {token['content']!r} has the number {token['id']}, and is read as {number}")


def _named(special: dict[str, int], separator: str | int) -> str:
    """The name of the special token."""
    found = [name for name, number in special.items() if separator in (name, number)]
    if not found:
        names = ", ".join(map(repr, sorted(special)[:_SHOWN])) or "none"
        raise ValueError(f"it has no special token {separator!r}; set data.separator to one of its own: {names}")
    return found[0]
