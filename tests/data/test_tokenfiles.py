"""Corpora that are token ids already."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harmony_core.data import SPLITS, DataConfig, DataManifest, TokenDataset, data_id, prepare, tokenfiles
from harmony_core.data.tokenizer import ByteTokenizer
from harmony_core.errors import UserError
from tests.data.test_own_tokenizer import MADE

DRAW = np.random.default_rng(0)
DOCUMENTS = [DRAW.integers(0, 256, size) for size in DRAW.integers(1, 400, 120)]
STREAM = np.concatenate([np.append(document, 256) for document in DOCUMENTS])


def config(*paths: Path, **options: Any) -> DataConfig:
    return DataConfig.parse({"source": "tokens", "paths": [str(path) for path in paths], **options})


def read(folder: Path, manifest: DataManifest) -> dict[str, list[list[int]]]:
    """The documents of each split, which a separator begins."""
    found = {}
    for split in SPLITS:
        data = TokenDataset(folder / manifest.id, split)
        stream = np.concatenate(data._shards)
        assert stream[0] == manifest.separator
        found[split] = [part[1:].tolist() for part in np.split(stream, np.flatnonzero(stream == 256))[1:]]
    return found


def fails(*paths: Path, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        prepare(config(*paths, **options), paths[0].parent / "data", [].append)
    assert str(caught.value).isprintable()
    assert not list((paths[0].parent / "data").glob("*"))
    return caught.value


@pytest.mark.parametrize("at_once", [2**20, 50])
def test_documents_are_kept_whole_whatever_holds_them(
    tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenfiles, "_AT_ONCE", at_once)
    np.save(tmp_path / "a.npy", STREAM.astype(">i4"))
    manifest = prepare(config(tmp_path / "a.npy"), tmp_path, print)
    found = read(tmp_path, manifest)
    assert sorted(one for split in SPLITS for one in found[split]) == sorted(one.tolist() for one in DOCUMENTS)
    assert sum(manifest.splits[split].bytes for split in SPLITS) == sum(map(len, DOCUMENTS))
    assert all(0.03 < sum(map(len, found[split])) / len(STREAM) < 0.07 for split in SPLITS[1:])
    before = np.concatenate([[256, 256], STREAM[:-1]])
    before.astype("<u2").tofile(tmp_path / "b.bin")
    other = prepare(config(tmp_path / "b.bin", token_dtype="uint16"), tmp_path, print)
    assert other.id != manifest.id
    assert other.checksum == manifest.checksum, "a separator before or after a document, and none twice"
    assert data_id(config(tmp_path / "b.bin", token_dtype="int16")) != other.id


def test_a_long_document_is_cut_between_ids(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", DRAW.integers(0, 256, 30_000).astype(np.uint8))
    said: list[str] = []
    manifest = prepare(config(tmp_path / "a.npy"), tmp_path, said.append)
    assert any("cut between tokens" in line for line in said)
    assert any("no separator (token 256) in 1 file(s)" in line for line in said)
    assert sum(manifest.splits[split].bytes for split in SPLITS) == 30_000


def test_with_a_tokenizer_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text(json.dumps(MADE))
    ids = DRAW.integers(2, 300, 5000)
    ids[::37] = 0
    np.save(tmp_path / "a.npy", ids)
    options = {"tokenizer": "file", "tokenizer_file": str(tmp_path / "tokenizer.json")}
    manifest = prepare(config(tmp_path / "a.npy", **options), tmp_path, print)
    data = TokenDataset(tmp_path / manifest.id, "train")
    assert manifest.splits["train"].bytes == int(data.token_bytes[np.concatenate(data._shards)].sum()) > data.num_tokens
    ids[7] = 305
    np.save(tmp_path / "a.npy", ids)
    (tmp_path / "out").mkdir()
    np.save(tmp_path / "out" / "a.npy", ids)
    error = fails(tmp_path / "out" / "a.npy", **options)
    assert error.value == "id 305 at 7"
    assert "ids from 0 to 304 are possible" in error.fix


@pytest.mark.parametrize(
    ("name", "write", "options", "told"),
    [
        ("a.bin", lambda path: STREAM.astype("<u2").tofile(path), {}, "such as uint16"),
        ("a.bin", lambda path: path.write_bytes(b"abc"), {"token_dtype": "uint16"}, "no whole number of ids of uint16"),
        ("a.bin", lambda path: path.touch(), {"token_dtype": "uint16"}, "0 bytes"),
        ("a.bin", lambda path: STREAM[:100].astype("<u4").tofile(path), {"token_dtype": "int64"}, "ids from 0 to 256"),
        ("a.npy", lambda path: np.save(path, STREAM - 1), {}, ": id -1 at"),
        ("a.npy", lambda path: np.save(path, np.append(STREAM, 257)), {}, f": id 257 at {len(STREAM)}:"),
        ("a.npy", lambda path: np.save(path, STREAM.astype(np.uint64) + 2**63), {}, ": id 9223372036854775"),
        ("a.npy", lambda path: np.save(path, STREAM[:100].reshape(10, 10)), {}, "flat array of whole numbers"),
        ("a.npy", lambda path: np.save(path, STREAM * 1.0), {}, "float64 of shape"),
        ("a.npy", lambda path: np.save(path, np.array([{}]), allow_pickle=True), {}, "no .npy file, or it is damaged"),
        ("a.npy", lambda path: path.write_bytes(b"\x93NUMPY\1\0v\0{'descr'"), {}, "damaged"),
        ("a.npy", lambda path: path.write_bytes(b""), {}, "damaged"),
        ("a.npy", lambda path: np.save(path, STREAM[:0]), {}, "flat array"),
        ("a.txt", lambda path: path.write_text("text"), {}, "no tokens here; name .npy or .bin files"),
        ("a.bin", lambda path: None, {"token_dtype": "uint16"}, "No such file"),
    ],
)
def test_what_is_no_array_of_ids(
    tmp_path: Path, name: str, write: Callable[[Path], Any], options: dict[str, Any], told: str
) -> None:
    write(tmp_path / name)
    assert told in str(fails(tmp_path / name, **options))


def test_damaged_arrays_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", STREAM)
    whole = (tmp_path / "a.npy").read_bytes()
    for size in (5, 30, 127, 129, len(whole) - 1):
        (tmp_path / "a.npy").write_bytes(whole[:size])
        assert "damaged" in fails(tmp_path / "a.npy").fix


def test_configurations_that_say_nothing_of_them(tmp_path: Path) -> None:
    for options in ({"tokenizer": "bpe"}, {"max_bytes": 100}, {"paths": []}, {"token_dtype": "float32"}):
        with pytest.raises(UserError):
            DataConfig.parse({"source": "tokens", "paths": ["a.npy"], **options})
    assert ByteTokenizer.separator == 256
