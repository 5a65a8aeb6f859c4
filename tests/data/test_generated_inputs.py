"""Whatever stands in a file that others wrote, reading it ends in text or in one line that says what is wrong.

HARMONY_GENERATED_INPUTS sets how many inputs are tried in all.
"""

import bz2
import codecs
import gzip
import hashlib
import json
import lzma
import os
import random
import warnings
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import zstandard

from harmony_core.base import canonical_json
from harmony_core.data import SPLITS, DataConfig, DataManifest, Document, TokenDataset, load_tokenizer, prepare
from harmony_core.data.corpus import Splits
from harmony_core.data.files import FilesSource
from harmony_core.data.kinds import DELIMITED, FORMS, kind_of
from harmony_core.data.records import Reading, refuse
from harmony_core.data.splitting import SplitDocuments
from harmony_core.data.textfile import documents_in
from harmony_core.errors import UserError

COUNT = int(os.environ.get("HARMONY_GENERATED_INPUTS", "20000"))
TEXT = "The lamp is green, naïve 東京 🙂.\r\n\r\nA second paragraph:\n\twith lines.\n" * 4
RECORDS = [{"text": f"note {number} é", "id": number, "tags": [None, True, 1.5e3]} for number in range(4)]
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": partial(lzma.compress, preset=0),
    ".zst": zstandard.ZstdCompressor(write_checksum=True).compress,
}
# What is most likely to be taken for something else.
ODD = [
    *(b"\0", b"\n", b"\r", b"\n\n", b"\xff", b"\xed\xa0\x80", b"\xc3", b"\xe2\x80\xa8", b"\x1b[2J", b"/", b"..", b"\\"),
    *(codecs.BOM_UTF8, codecs.BOM_UTF16, codecs.BOM_UTF32, codecs.BOM_UTF16_BE, "é".encode("latin-1"), b"\x1f\x8b"),
    *(b'"\\ud800"', b"\\ud83d", b'"', b"{", b"}", b"[", b"]", b"null", b"NaN", b"1e999", b"9" * 5000, b"[" * 2000),
    *(b'{"text": "x"}', b'{"text": 1}', b"{}", b"-1", b"true", b'"\\u0000"', b" " * 100, b"<|endoftext|>"),
]


def changed(draw: random.Random, data: bytes) -> bytes:
    """The bytes cut, repeated, flipped, with something put into them, or in another encoding."""
    for _ in range(draw.choice((0, 1, 1, 1, 2, 5))):
        first, last = sorted(draw.randrange(len(data) + 1) for _ in range(2))
        match draw.randrange(8):
            case 0:
                data = data[:first]
            case 1:
                data = data[:first] + data[last:]
            case 2:
                data = data[:last] + data[first:]
            case 3:
                data = data[:first] + draw.choice(ODD) + data[first:]
            case 4:
                data = draw.choice(ODD) + data
            case 5:
                flipped = bytes([data[first] ^ 1 << draw.randrange(8)]) if first < len(data) else b""
                data = data[:first] + flipped + data[first + 1 :]
            case 6:
                data = data[:first] + draw.randbytes(draw.randrange(1, 9)) + data[last:]
            case 7:
                encoding = draw.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "cp037", "punycode"))
                data = data.decode("latin-1").encode(encoding, errors="replace")
    return data


def tried(share: float, attempt: Callable[[random.Random], object]) -> None:
    """Makes a share of all inputs; both ends must be reached often, so that neither is by chance."""
    ends: Counter[str] = Counter()
    for number in range(int(COUNT * share)):
        said = "read"
        try:
            attempt(random.Random(number))
        except UserError as error:
            said = str(error)
        except BaseException as error:
            error.add_note(f"input {number}")
            raise
        assert said.isprintable(), number
        ends["read" if said == "read" else "refused"] += 1
    assert min(ends["read"], ends["refused"]) > sum(ends.values()) / 20


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("form", [*FORMS, *DELIMITED])
def test_text_files(form: str, compression: str) -> None:
    plain = {
        "text": TEXT.encode(),
        "jsonl": b"\n".join(json.dumps(record).encode() for record in RECORDS),
        "json": json.dumps(RECORDS, ensure_ascii=False, indent=1).encode(),
        "csv": b'id,text\n1,"some, words"\n2,"two\nlines"\n3,naive\n',
        "tsv": b"text\tid\nsome words\t1\nother\t2\n",
    }[(FORMS | DELIMITED)[form]]
    name = f"a{form.upper()}{compression}"
    kind = kind_of(Path(name))
    assert kind is not None

    def attempt(draw: random.Random) -> None:
        data = changed(draw, plain) if draw.random() < 0.5 or not compression else plain
        data = COMPRESS[compression](data)
        data = changed(draw, data) if draw.random() < 0.5 and compression else data
        reading = Reading(name, name, "text", refuse, lambda line: None)
        size = draw.choice((1, 7, len(data) + 1)) if len(data) < 1000 else len(data) + 1
        blocks = [data[start : start + size] for start in range(0, len(data), size)]
        for document in documents_in(lambda: blocks, kind, reading):
            document.text.decode("utf-8")
            assert document.name.isprintable()

    tried(0.9 / len(FORMS | DELIMITED) / len(COMPRESS), attempt)


def test_folders_of_files(tmp_path: Path) -> None:
    def attempt(draw: random.Random) -> None:
        folder = tmp_path / str(draw.getrandbits(64))
        folder.mkdir()
        for _ in range(draw.randrange(1, 5)):
            stem = changed(draw, b"name")[:40].translate(None, b"\0/") or b"x"
            name = stem + draw.choice((b".txt", b".TXT", b".jsonl", b".txt.gz", b".lz4", b".txt.lz4", b".d", b""))
            if name not in (b".", b".."):
                path = os.path.join(os.fsencode(folder), name)
                kind = draw.randrange(20)
                if kind == 0:
                    os.makedirs(path, exist_ok=True)
                elif kind == 1 and not os.path.lexists(path):
                    os.symlink(draw.choice((b".", b"..", b"nowhere", name)), path)
                elif not os.path.isdir(path) and not os.path.islink(path):
                    Path(os.fsdecode(path)).write_bytes(TEXT.encode() if b".jsonl" not in name else b'{"text": "x"}')
        source = FilesSource([str(folder)], "text")
        source.fingerprint()
        corpus = source.documents(lambda line: None)
        assert all(document.name.isprintable() for _, document in corpus.parts())

    tried(0.01, attempt)


def test_splits() -> None:
    def attempt(draw: random.Random) -> None:
        sizes = [int(10 ** draw.uniform(0, draw.choice((2, 3, 4)))) for _ in range(draw.randrange(1, 30))]
        texts = [(draw.choice(("a", "東", "b\n", "c\n\n")) * size)[:size].encode() for size in sizes]
        given = [Document(str(number), text) for number, text in enumerate(texts)]
        splits = Splits({split: [] for split in SPLITS})
        for split, document in SplitDocuments(lambda: iter(given), lambda line: None).parts():
            splits[split].append(document)
        assert all(splits[split] for split in SPLITS)
        total = sum(map(len, set(texts)))
        for split in SPLITS:
            size = sum(len(document.text) for document in splits[split])
            assert 0.024 * total < size < 0.126 * total or split == "train"
        assert sum(len(document.text) for split in SPLITS for document in splits[split]) == total
        whole = [{d.text for d in splits[split] if not d.name.endswith("]")} for split in SPLITS]
        assert not whole[0] & whole[1] | whole[0] & whole[2] | whole[1] & whole[2]

    tried(0.02, attempt)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    config = DataConfig(source="synthetic", max_bytes=3000, tokenizer="bpe", vocab_size=270)
    return root / prepare(config, root, lambda line: None).id


def copy_of(prepared: Path, folder: Path) -> Path:
    for path in prepared.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def sealed(fields: object) -> bytes:
    """A manifest with the right checksum, whatever is in it."""
    if isinstance(fields, dict):
        fields.pop("manifest_sha256", None)
        fields["manifest_sha256"] = hashlib.sha256(canonical_json(fields).encode()).hexdigest()
    return json.dumps(fields).encode()


def edited(draw: random.Random, value: object) -> object:
    """A JSON value in which some part is another."""
    if isinstance(value, dict | list) and value and draw.random() < 0.9:
        copy = value.copy()
        key = draw.choice(list(copy) if isinstance(copy, dict) else range(len(copy)))
        if draw.random() < 0.1:
            del copy[key]
        else:
            copy[key] = edited(draw, copy[key])
        return copy
    odd = [
        None,
        True,
        -1,
        0,
        10**30,
        0.5,
        "",
        "\0",
        "../x",
        "a/b",
        "\ud800",
        "caf\xe9",
        [],
        {},
        [[]],
        {"a": 1},
        "x" * 300,
    ]
    return draw.choice(odd)


def test_manifests(prepared: Path, tmp_path: Path) -> None:
    folder = copy_of(prepared, tmp_path)
    content = (folder / "manifest.json").read_bytes()

    def attempt(draw: random.Random) -> None:
        if draw.random() < 0.5:
            (folder / "manifest.json").write_bytes(changed(draw, content))
        else:
            fields = json.loads(content)
            for _ in range(draw.randrange(3)):
                fields = edited(draw, fields)
            (folder / "manifest.json").write_bytes(sealed(fields))
        for split in SPLITS:
            TokenDataset(folder, split)

    tried(0.03, attempt)


@pytest.mark.parametrize("name", ["\0", "../tokenizer.json", "a/b", "", "x" * 300])
def test_manifest_names_files_of_its_own_folder(prepared: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(prepared, tmp_path)
    fields = json.loads((folder / "manifest.json").read_bytes())
    fields["splits"]["test"]["shards"][0]["file"] = name
    (folder / "manifest.json").write_bytes(sealed(fields))
    with pytest.raises(UserError, match="delete the folder"):
        TokenDataset(folder, "test")


def test_manifest_of_another_format_is_not_called_damaged(prepared: Path, tmp_path: Path) -> None:
    folder = copy_of(prepared, tmp_path)
    fields = json.loads((folder / "manifest.json").read_bytes())
    (folder / "manifest.json").write_bytes(sealed({**fields, "format_version": 0, "documents": 3}))
    with pytest.raises(UserError, match="format version 0: of another HARMONY"):
        DataManifest.load(folder)


def test_tokenizers(prepared: Path, tmp_path: Path) -> None:
    folder = copy_of(prepared, tmp_path)
    manifest = DataManifest.load(folder)
    content = (folder / "tokenizer.json").read_bytes()

    def attempt(draw: random.Random) -> None:
        found = changed(draw, content)
        if draw.random() < 0.5:
            found = json.dumps(edited(draw, json.loads(content))).encode()
        (folder / "tokenizer.json").write_bytes(found)
        update = {"tokenizer_checksum": hashlib.sha256(found).hexdigest()} if draw.random() < 0.9 else {}
        tokenizer = load_tokenizer(folder, manifest.model_copy(update=update))
        assert tokenizer.token_bytes.shape == (tokenizer.vocab_size,)

    tried(0.02, attempt)


def test_shards(prepared: Path, tmp_path: Path) -> None:
    folder = copy_of(prepared, tmp_path)
    path = folder / DataManifest.load(folder).splits["test"].shards[0].file
    content = path.read_bytes()

    def attempt(draw: random.Random) -> None:
        path.unlink()
        path.write_bytes(changed(draw, content))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            TokenDataset(folder, "test", verify=draw.random() < 0.9)

    tried(0.02, attempt)
