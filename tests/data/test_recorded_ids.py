"""What was prepared before files were streamed has the same ids and the same tokens now.

The checksums are those that the code gave that held a corpus in memory as a whole.
"""

import json
import random
from pathlib import Path

import pytest

from harmony_core.data import DataConfig, longtext, prepare, textfile
from harmony_core.data import data_id as data_id_of
from harmony_core.search.config import Config

ROOT = Path(__file__).parents[2]

WORDS = [f"{onset}{rest}" for onset in "bcdfghlmnprst" for rest in ("and", "ell", "ike", "ow", "ultry")]


def prose(draw: random.Random, size: int) -> str:
    """Words in lines and paragraphs."""
    text = ""
    while len(text) < size:
        text += "\n".join(" ".join(draw.choices(WORDS, k=9)) for _ in range(draw.randrange(1, 7))) + "\n\n"
    return text


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every kind of file that was read: a book that is cut, notes, copies, other encodings, half a surrogate pair."""
    folder, draw = tmp_path_factory.mktemp("corpus"), random.Random(15)
    (folder / "book.txt").write_text(prose(draw, 120_000))
    (folder / "wide.md").write_text("été 東京 🙂\n\n" * 40, encoding="utf-16")
    records = [{"text": prose(draw, draw.randrange(20, 3000)), "n": number} for number in range(150)]
    records += [records[3], {"text": ""}, {"text": "half \ud83d a pair"}, records[7]]
    (folder / "notes.jsonl").write_text("\n".join(map(json.dumps, records)))
    (folder / "lines.json").write_text("".join(json.dumps({"text": prose(draw, 400)}) + "\n" for _ in range(30)))
    (folder / "list.json").write_text(json.dumps([{"text": prose(draw, 500)} for _ in range(20)], indent=1))
    return folder


RECORDED: list[tuple[dict[str, object], str, str]] = [
    ({"source": "files"}, "459b3c70c0eb7a7f", "8cc3206017697749"),
    (
        {"source": "files", "tokenizer": "bpe", "vocab_size": 400},
        "0a37334ce978a28d",
        "83ccf2fb3690e7fa",
    ),
    (
        {"source": "files", "max_bytes": 3000},
        "9ac5b1cee76e3c0f",
        "52870a91253e39a1",
    ),
    (
        {"source": "files", "max_bytes": 5000, "tokenizer": "bpe", "vocab_size": 300},
        "30ba822136f4aefd",
        "0591f5cd51a77cf9",
    ),
    (
        {"source": "synthetic", "max_bytes": 30000},
        "4ee17e6f4c15b99b",
        "37cab12ed6a24ba0",
    ),
    (
        {"source": "synthetic", "max_bytes": 20000, "tokenizer": "bpe", "vocab_size": 300, "seed": 3},
        "81d3c7dd071c8aad",
        "f3a8c08768095d1e",
    ),
]


@pytest.mark.parametrize(("options", "data_id", "checksum"), RECORDED, ids=[str(one[0]) for one in RECORDED])
def test_ids_and_tokens(corpus: Path, tmp_path: Path, options: dict[str, object], data_id: str, checksum: str) -> None:
    paths = [str(corpus)] if options["source"] == "files" else []
    manifest = prepare(DataConfig.parse({"paths": paths, **options}), tmp_path, [].append)
    assert (manifest.id, manifest.checksum[:16]) == (data_id, checksum)


@pytest.mark.parametrize(("options", "data_id", "checksum"), RECORDED[:4], ids=[str(one[0]) for one in RECORDED[:4]])
def test_long_texts_have_the_same(
    corpus: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, object],
    data_id: str,
    checksum: str,
) -> None:
    """Texts that lie in a temporary file, encoded in small pieces."""
    monkeypatch.setattr(longtext, "_HELD_BYTES", 100)
    monkeypatch.setattr(longtext, "_PIECE_BYTES", 777)
    monkeypatch.setattr(textfile, "_BLOCK_BYTES", 1000)
    made: list[object] = []
    spooled = longtext.TemporaryFile
    monkeypatch.setattr(longtext, "TemporaryFile", lambda **given: made.append(given) or spooled(**given))
    test_ids_and_tokens(corpus, tmp_path, options, data_id, checksum)
    # The book and the notes in another encoding, each time that they are read.
    assert len(made) >= 6


def test_configurations_have_the_hashes_that_they_had() -> None:
    assert data_id_of(DataConfig()) == "5b5ccffb2af4289d"
    names = {"nano.yaml": "cc11e77419e7aecf", "frontier.yaml": "209075d5e1e85977"}
    assert {name: Config.from_yaml(ROOT / "config" / name).hash for name in names} == names
    assert Config().hash == "9904e62966931d0d"
