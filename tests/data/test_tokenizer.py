import json
import random
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import tokenizers

from harmony_core.data import bpe
from harmony_core.data.bpe import BpeTokenizer
from harmony_core.data.tokenizer import ByteTokenizer, Tokenizer

WORDS = b"the cat sat on the mat and the other cat sat on the other mat in the thin theatre "
LATIN_1 = "Größe, façade, naïveté".encode("latin-1")
TEXTS = [
    b"",
    b"\x00",
    bytes(range(256)),
    bytes(range(255, -1, -1)) * 3,
    LATIN_1,
    b"\xff",
    b"caf\xc3",
    "naïve 東京 🙂 \r\n\t  x".encode(),
    b"<|separator|> <|endoftext|> </s>",
    "half a pair: \ud800".encode("utf-8", errors="surrogatepass"),
    WORDS,
]


@pytest.fixture(scope="module")
def trained() -> BpeTokenizer:
    return BpeTokenizer.train([WORDS * 20, b"numbers 1 22 333 4444\n" * 20], vocab_size=290)


@pytest.fixture(params=["byte", "bpe"])
def tokenizer(request: pytest.FixtureRequest, trained: BpeTokenizer) -> Tokenizer:
    return ByteTokenizer() if request.param == "byte" else trained


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_any_bytes_survive(tokenizer: Tokenizer, text: bytes) -> None:
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.uint32
    assert tokenizer.decode(tokens.tolist()) == text
    assert tokenizer.token_bytes[tokens].sum() == len(text)
    assert (tokens < tokenizer.separator).all()


def test_random_bytes_survive(tokenizer: Tokenizer) -> None:
    text = random.Random(0).randbytes(20_000)
    assert tokenizer.decode(tokenizer.encode(text).tolist()) == text


def test_separator_is_the_last_token_and_no_text(tokenizer: Tokenizer) -> None:
    assert tokenizer.separator == tokenizer.vocab_size - 1
    assert tokenizer.token_bytes.shape == (tokenizer.vocab_size,)
    assert tokenizer.token_bytes[tokenizer.separator] == 0
    assert (tokenizer.token_bytes[:-1] > 0).all()
    assert tokenizer.decode([tokenizer.separator]) == b""


def test_byte_tokens_are_bytes() -> None:
    assert ByteTokenizer().encode(b"az\xff").tolist() == [97, 122, 255]
    assert ByteTokenizer().vocab_size == 257


def test_bpe_has_the_asked_size_and_shortens_text(trained: BpeTokenizer) -> None:
    assert trained.vocab_size == 290
    assert len(trained.encode(WORDS)) < len(WORDS) / 2


def test_bpe_of_a_poor_text_is_smaller() -> None:
    assert BpeTokenizer.train([b"abab"], vocab_size=1000).vocab_size < 270


def test_training_is_repeatable_and_file_is_standard(trained: BpeTokenizer, tmp_path: Path) -> None:
    again = BpeTokenizer.train([WORDS * 20, b"numbers 1 22 333 4444\n" * 20], vocab_size=290)
    assert again.to_json() == trained.to_json()
    path = tmp_path / "tokenizer.json"
    path.write_text(trained.to_json(), encoding="utf-8")
    standard = tokenizers.Tokenizer.from_file(str(path))
    assert standard.encode("the cat, 東京").ids == trained.encode("the cat, 東京".encode()).tolist()
    assert standard.decode(standard.encode("the cat, 東京").ids) == "the cat, 東京"
    assert len(json.loads(trained.to_json())["model"]["vocab"]) == trained.separator


def test_long_text_is_encoded_in_pieces(trained: BpeTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (b"a line of text that ends\n" * 40) + b"one line without an end " * 40 + LATIN_1
    whole = trained.encode(text)
    monkeypatch.setattr(bpe, "_PIECE_CHARACTERS", 50)
    monkeypatch.setattr(bpe, "_PIECES_A_CALL", 3)
    pieces = trained.encode(text)
    assert trained.decode(pieces.tolist()) == text
    assert len(pieces) < len(whole) * 1.1


def test_training_reads_no_more_than_its_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "TRAINING_BYTES", 1000)
    first = BpeTokenizer.train([b"abc " * 250, b"xyz " * 250], vocab_size=300)
    assert len(first.encode(b" abc")) < 4
    assert len(first.encode(b" xyz")) == 4


def test_training_on_a_line_without_spaces_takes_no_longer_than_on_lines() -> None:
    """The library's own time grows with the square of a word's length, and such a line is one word."""
    draw = random.Random(0)
    letters = "".join(draw.choices("acgt", k=2**17))
    characters = "".join(chr(0x4E00 + int(draw.paretovariate(0.7)) % 3000) for _ in range(2**15))

    def seconds(text: str) -> float:
        started = time.process_time()
        BpeTokenizer.train([text.encode()], 400)
        return time.process_time() - started

    in_lines = seconds("\n".join(textwrap.wrap(letters, 60)))
    assert seconds(letters) < 4 * in_lines
    assert seconds(characters) < 4 * in_lines


def test_long_words_are_cut_for_training_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert max(map(len, WORDS.split())) < bpe._TRAINING_WORD_BYTES
    whole = BpeTokenizer.train([WORDS * 20], 290)
    monkeypatch.setattr(bpe, "_TRAINING_WORD_BYTES", 10)
    assert BpeTokenizer.train([WORDS * 20], 290).to_json() == whole.to_json(), "no word is cut"
    cut = BpeTokenizer.train([b"abcdefghijklm " * 40], 290)
    assert cut.token_bytes.max() == 10
    words = "".join(tokenizers.pre_tokenizers.ByteLevel.alphabet()).encode() + b"x" * 100
    standard = tokenizers.Tokenizer.from_str(cut.to_json())
    assert len(standard.pre_tokenizer.pre_tokenize_str("x" * 100)) == 1, "encoding cuts no word"
    assert cut.decode(cut.encode(words).tolist()) == words
