import json
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from harmony_core.data import DataConfig, DataManifest, TokenDataset, load_tokenizer, reading_tokenizer
from harmony_core.data.loading import vocab_sizes
from harmony_core.data.own_tokenizer import OwnTokenizer
from harmony_core.data.reading_tokenizer import read_own
from harmony_core.errors import UserError

TEXT = "The cat sat on the mat, and the other cat's 1234 hats:\n\tnaïve 東京 🙂 e\u0301 \r\n" * 30
# The words of Llama 3 and of those after it: letters, three digits, spaces.
WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"  # noqa: E501
Edit = Callable[[dict[str, Any]], Any]


def made() -> dict[str, Any]:
    """A tokenizer.json as others make them: special tokens first, one further on, words of runs of spaces."""
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    words = pre_tokenizers.Split(tokenizers.Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=330, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    tokenizer.add_tokens([tokenizers.AddedToken("    ", normalized=False)])
    tokenizer.add_special_tokens([tokenizers.AddedToken("<pad>", lstrip=True)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=9)
    found: dict[str, Any] = json.loads(tokenizer.to_str())
    return found


MADE = made()


def written(folder: Path, edit: Edit = lambda data: None) -> str:
    data = json.loads(json.dumps(MADE))
    edit(data)
    (folder / "tokenizer.json").write_text(json.dumps(data))
    return str(folder / "tokenizer.json")


def test_tokens_are_the_librarys_and_stand_for_their_bytes(tmp_path: Path) -> None:
    own = read_own(written(tmp_path), "<|endoftext|>")
    standard = tokenizers.Tokenizer.from_str(json.dumps({**MADE, "truncation": None, "padding": None}))
    ids = own.encode(TEXT.encode())
    assert ids.tolist() == standard.encode(TEXT, add_special_tokens=False).ids
    assert own.token_bytes[ids].sum() == len(TEXT.encode())
    assert own.decode(ids.tolist()) == TEXT.encode()
    assert (own.separator, own.separator_name, own.vocab_size) == (0, "<|endoftext|>", standard.get_vocab_size())
    assert own.token_bytes[[0, 1, standard.token_to_id("<pad>")]].tolist() == [0, 0, 0]
    spaces = own.encode(b"a    b")
    assert standard.token_to_id("    ") in spaces
    assert own.token_bytes[standard.token_to_id("    ")] == 4
    for text in (b"", b"\xff\xfe caf\xc3", bytes(range(256)), random.Random(0).randbytes(5000)):
        assert own.decode(own.encode(text).tolist()) == text


def test_text_that_spells_a_special_token_is_text(tmp_path: Path) -> None:
    own = OwnTokenizer(Path(written(tmp_path)).read_text(), "<|im_start|>")
    text = b"a <|endoftext|> b<|im_start|><pad>  c"
    ids = own.encode(text)
    assert own.decode(ids.tolist()) == text
    assert not {0, 1} & set(ids.tolist())


def test_numbers_may_have_gaps(tmp_path: Path) -> None:
    def move(data: dict[str, Any]) -> None:
        data["model"]["vocab"]["!"] = 900

    own = OwnTokenizer(Path(written(tmp_path, move)).read_text(), "<pad>")
    assert (own.vocab_size, len(own.token_bytes)) == (901, 901)
    assert own.encode(b"!").tolist() == [900]
    assert own.encode(TEXT.encode()).max() < 900


def changed(**values: Any) -> Edit:
    return lambda data: data.update(values)


def in_model(**values: Any) -> Edit:
    return lambda data: data["model"].update(values)


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (changed(normalizer={"type": "NFC"}), "its normalizer 'NFC' changes the text"),
        (changed(normalizer={"type": "Sequence", "normalizers": [{"type": "Lowercase"}]}), "'Sequence' changes"),
        (changed(pre_tokenizer=None), "no ByteLevel"),
        (changed(pre_tokenizer={**BYTE_LEVEL, "add_prefix_space": True}), "a space before the text"),
        (
            changed(pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "Whitespace"}, BYTE_LEVEL]}),
            "'Whitespace' may not keep all",
        ),
        (lambda data: data["pre_tokenizer"]["pretokenizers"][0].update(behavior="Removed"), "'Split' removes"),
        (in_model(type="Unigram"), "its model is 'Unigram'; a byte-level BPE is needed"),
        (in_model(type="\x1b[2J"), "a byte-level BPE is needed"),
        (in_model(dropout=0.1), "dropout"),
        (in_model(end_of_word_suffix="</w>"), "end_of_word_suffix"),
        (in_model(vocab={"a": 0}, merges=[]), "not every byte"),
        (lambda data: data["added_tokens"][2].update(lstrip=True), "swallows spaces"),
        (lambda data: data["added_tokens"][-1].update(id=900), "'<pad>' has the number 900, and is read as 304"),
        (lambda data: data["model"]["vocab"].update({"!": 10**8}), "numbers up to 100000000"),
        (lambda data: data.pop("model"), "a key 'model' is needed"),
        (in_model(merges=[["q", "zz"]]), "zz"),
        (changed(added_tokens=[]), "no special token '<|endoftext|>'; set data.separator to one of its own: none"),
        (changed(added_tokens=MADE["added_tokens"][1:]), "one of its own: '<pad>', '<|im_start|>'"),
    ],
)
def test_what_changes_the_text_is_refused_by_name(edit: Edit, told: str) -> None:
    data = json.loads(json.dumps(MADE))
    edit(data)
    with pytest.raises(ValueError, match=re.escape(told)):
        OwnTokenizer(json.dumps(data), "<|endoftext|>")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no JSON"),
        (b"[" * 10**5, "no JSON"),
        (b"\xff", "not UTF-8"),
        (b'{"model": {"type": "BPE"}}', "no ByteLevel"),
        (b"{}", "a key 'model'"),
    ],
)
def test_a_file_that_is_none(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "x\x1b.json").write_bytes(content)
    with pytest.raises(UserError, match=told) as caught:
        read_own(str(tmp_path / "x\x1b.json"), "<|endoftext|>")
    assert caught.value.field == "data.tokenizer_file"
    assert str(caught.value).isprintable()


def test_what_is_no_file_of_text(tmp_path: Path) -> None:
    for odd, told in (("/dev/zero", "not a regular file"), (str(tmp_path), "directory"), ("no\0name", "no name")):
        with pytest.raises(UserError, match=told):
            read_own(odd, "<|endoftext|>")


@pytest.mark.parametrize(
    ("name", "limit", "told"),
    [
        ("MAX_BYTES", 1000, "larger than 0 MiB"),
        ("_SECONDS", 0.01, r"not read in 0\.02 s"),
        ("_MEMORY_BYTES", 200 * 2**20, r"(memory than|at most 60 s and) 200 MiB"),
    ],
)
def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, limit: float, told: str) -> None:
    words = {f"{number:0100}": 500 + number for number in range(400_000)} if name == "_MEMORY_BYTES" else {}
    path = written(tmp_path, lambda data: data["model"]["vocab"].update(words))
    monkeypatch.setattr(reading_tokenizer, name, limit)
    with pytest.raises(UserError, match=told):
        read_own(path, "<|endoftext|>")


def test_a_pattern_that_hangs_is_refused(tmp_path: Path) -> None:
    def slow(data: dict[str, Any]) -> None:
        data["pre_tokenizer"]["pretokenizers"][0]["pattern"] = {"Regex": "(a+)+$|(a|a)*b"}

    with pytest.raises(UserError, match="retry-limit"):
        read_own(written(tmp_path, slow), "<|endoftext|>")


def test_prepared_with_it(prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(TEXT)
    path = written(tmp_path)
    options: dict[str, Any] = {"tokenizer": "file", "tokenizer_file": path}
    folder, manifest = prepare_files(tmp_path / "a.txt", **options)
    own = read_own(path, "<|endoftext|>")
    assert (manifest.tokenizer, manifest.separator, manifest.vocab_size) == ("file", 0, own.vocab_size)
    data = TokenDataset(folder, "train")
    row = data.batch(0, 1, data.num_tokens - 1, 0)[0]
    assert data.token_bytes[row].sum() == manifest.splits["train"].bytes
    assert np.count_nonzero(row == 0) == manifest.splits["train"].num_documents
    assert load_tokenizer(folder).encode(TEXT.encode()).tolist() == own.encode(TEXT.encode()).tolist()
    assert prepare_files(tmp_path / "a.txt", separator="<pad>", **options)[1].id != manifest.id
    written(tmp_path, changed(truncation=None))
    assert prepare_files(tmp_path / "a.txt", **options)[1].id != manifest.id
    config = DataConfig.parse({"source": "synthetic", **options})
    assert vocab_sizes(config) == [manifest.vocab_size]
    for wrong in ({"tokenizer": "file"}, {"tokenizer_file": "x.json"}):
        with pytest.raises(UserError, match="tokenizer_file"):
            DataConfig.parse(wrong)


def test_text_that_it_would_change_is_refused() -> None:
    """The last line of defence: whatever a tokenizer does, the sum of its tokens' bytes is compared with the text."""
    own = OwnTokenizer(json.dumps(MADE), 0)
    own.token_bytes[own.encode(b"q")] = 2
    with pytest.raises(UserError, match="3 bytes in its tokens where the text has 2"):
        own.encode(b"q.")
