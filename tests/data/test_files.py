import bz2
import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from harmony_core.data.corpus import SPLITS
from harmony_core.data.files import FilesSource
from harmony_core.errors import UserError

COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


def texts(source: FilesSource) -> set[bytes]:
    splits = source.documents(lambda line: None)
    return {document.text for split in SPLITS for document in splits[split]}


def fails(path: Path, text_key: str = "text") -> UserError:
    with pytest.raises(UserError) as caught:
        FilesSource([str(path)], text_key).documents(lambda line: None)
    assert "\n" not in str(caught.value)
    return caught.value


def write_three(folder: Path) -> set[bytes]:
    contents = {b"first text\n", b"second text\n", b"third text\n"}
    for number, content in enumerate(sorted(contents)):
        (folder / f"{number}.txt").write_bytes(content)
    return contents


@pytest.mark.parametrize("suffix", COMPRESS)
def test_reads_text_and_jsonl_in_every_compression(tmp_path: Path, suffix: str) -> None:
    lines = [json.dumps({"body": f"line {n} é"}) for n in range(3)]
    (tmp_path / f"a.jsonl{suffix}").write_bytes(COMPRESS[suffix]("\n\n".join(lines).encode()))
    (tmp_path / f"b.md{suffix}").write_bytes(COMPRESS[suffix](b"# raw \xff\n"))
    found = texts(FilesSource([str(tmp_path)], "body"))
    assert found == {"line 0 é".encode(), "line 1 é".encode(), "line 2 é".encode(), b"# raw \xff\n"}


@pytest.mark.parametrize("suffix", [s for s in COMPRESS if s])
def test_truncated_and_wrong_compression_are_told(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.txt{suffix}"
    whole = COMPRESS[suffix](os.urandom(5000))
    for broken in (whole[: len(whole) // 2], b"this is no archive at all"):
        path.write_bytes(broken)
        assert f"not a whole {suffix} file" in fails(path).fix


def test_frames_of_zstandard_are_joined(tmp_path: Path) -> None:
    path = tmp_path / "a.txt.zst"
    compress = COMPRESS[".zst"]
    path.write_bytes(compress(b"one\n" * 500) + compress(b"two\n" * 500))
    splits = FilesSource([str(path)], "text").documents(print)
    assert b"".join(splits[split][0].text for split in SPLITS) == b"one\n" * 500 + b"two\n" * 500


def test_folders_are_walked_sorted_without_hidden_and_other_files(tmp_path: Path) -> None:
    contents = write_three(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "4.txt").write_bytes(b"fourth")
    (tmp_path / ".hidden.txt").write_bytes(b"hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_bytes(b"hidden too")
    (tmp_path / "picture.png").write_bytes(b"png")
    source = FilesSource([str(tmp_path), str(tmp_path / "0.txt")], "text")
    assert texts(source) == contents | {b"fourth"}
    splits = source.documents(print)
    assert sum(len(splits[split]) for split in SPLITS) == 4


def test_fingerprint_follows_content(tmp_path: Path) -> None:
    write_three(tmp_path)
    before = FilesSource([str(tmp_path)], "text").fingerprint()
    os.utime(tmp_path / "0.txt", (1, 1))
    assert FilesSource([str(tmp_path)], "text").fingerprint() == before
    (tmp_path / "0.txt").write_bytes(b"changed")
    assert FilesSource([str(tmp_path)], "text").fingerprint() != before


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"text": "ok"', "one JSON object a line"),
        ("[1]", "no key 'text'"),
        ('{"body": "x"}', "no key 'text'"),
        ('{"text": 3}', "not text"),
        (b"\xff\xfe", "one JSON object a line"),
        ("[" * 100_000, "one JSON object a line"),
    ],
)
def test_bad_line_is_named(tmp_path: Path, line: str | bytes, told: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "fine"}\n\n' + (line if isinstance(line, bytes) else line.encode()) + b"\n")
    error = fails(path)
    assert error.field == f"{path}:3"
    assert told in error.fix


def test_half_a_surrogate_pair_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"text": f"{n} \ud800"}) + "\n" for n in range(3)))
    assert b"0 \xed\xa0\x80" in texts(FilesSource([str(path)], "text"))


def test_missing_unreadable_unknown_and_empty(tmp_path: Path) -> None:
    assert "No such file" in fails(tmp_path / "none.txt").value
    (tmp_path / "dir.txt").mkdir()
    assert "no text in this folder" in fails(tmp_path / "dir.txt").fix
    for name in ("a.pdf", "a.txt.lz4", "noname"):
        (tmp_path / name).write_bytes(b"x")
        assert "unknown kind of file" in fails(tmp_path / name).fix
    assert "unknown compression" in fails(tmp_path).fix
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    assert "loop" in fails(tmp_path / "loop.txt").value
    (tmp_path / "empty.txt").touch()
    assert "empty" in fails(tmp_path / "empty.txt").fix


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "Permission" in fails(path).value
