import json
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from harmony_core.data import DataManifest
from harmony_core.data.corpus import SPLITS
from harmony_core.data.files import FilesSource
from harmony_core.errors import UserError

NOTES = [f"note {number}: the lamp is green, and the river walks north." for number in range(40)]


def texts(source: FilesSource, said: list[str] | None = None) -> set[bytes]:
    corpus = source.documents([].append if said is None else said.append)
    return {document.text for _, document in corpus.parts()}


def fails(*paths: Path) -> UserError:
    with pytest.raises(UserError) as caught:
        FilesSource([str(path) for path in paths], "text").documents(print)
    assert "\n" not in str(caught.value)
    return caught.value


def write_notes(folder: Path) -> set[bytes]:
    folder.mkdir(exist_ok=True)
    for number, note in enumerate(NOTES):
        (folder / f"{number:02}.txt").write_text(note)
    return {note.encode() for note in NOTES}


def test_folders_are_read_and_what_is_left_out_is_said(tmp_path: Path) -> None:
    contents = write_notes(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "4.txt").write_bytes(b"fourth")
    for name in ("a.png", "B.PDF", "noname", "x.tar.gz", "y.csv", ".hidden.txt"):
        (tmp_path / name).write_bytes(b"hidden")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x.txt").write_bytes(b"hidden too")
    said: list[str] = []
    source = FilesSource([str(tmp_path), str(tmp_path / "01.txt")], "text")
    assert texts(source, said) == contents | {b"fourth"}
    assert said == [
        f"reading 41 file(s) of {tmp_path}, {tmp_path / '01.txt'}, "
        "leaving out 7: .git, .hidden.txt, B.PDF, a.png, noname, ..."
    ]


def test_what_would_be_left_out_by_case_suffix_or_link_is_read(tmp_path: Path) -> None:
    """Eight files, of which one was read: the others had large letters, other suffixes, or lay behind a link."""
    contents = write_notes(tmp_path / "corpus")
    for number, name in enumerate(("B.TXT", "c.JSONL", "d.ndjson", "e.json", "f.Md")):
        text = f"these words must be read, {number}"
        (tmp_path / "corpus" / name).write_text(json.dumps({"text": text}) if "json" in name.lower() else text)
        contents.add(text.encode())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "h.txt").write_bytes(b"linked words")
    (tmp_path / "corpus" / "link").symlink_to(tmp_path / "elsewhere")
    said: list[str] = []
    assert texts(FilesSource([str(tmp_path / "corpus")], "text"), said) == contents | {b"linked words"}
    assert said == [f"reading 46 file(s) of {tmp_path / 'corpus'}"]


def test_same_bytes_read_in_another_way_are_other_data(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    content = "".join(json.dumps({"text": note}) + "\n" for note in NOTES)
    found = {}
    for name in ("notes.txt", "notes.jsonl"):
        (tmp_path / name).write_text(content)
        _, found[name] = prepare_files(tmp_path / name)
    assert found["notes.txt"].id != found["notes.jsonl"].id
    assert sum(split.num_documents for split in found["notes.jsonl"].splits.values()) == 40
    assert all(name.startswith("notes.txt[") for name in found["notes.txt"].splits["train"].documents)
    assert sum(split.bytes for split in found["notes.txt"].splits.values()) == len(content)


def test_a_book_among_notes_takes_no_split(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    """Whatever its hash, it is most of the text: whole, it would leave a tenth of that to training."""
    write_notes(tmp_path / "notes")
    for seed in range(20):
        words = random.Random(seed).choices(["river", "stone", "lamp", "green", "walks", "far"], k=20_000)
        (tmp_path / "notes" / "book.txt").write_text(" ".join(words))
        _, manifest = prepare_files(tmp_path / "notes")
        sizes = {split: manifest.splits[split].bytes for split in SPLITS}
        for split in ("validation", "test"):
            assert 0.035 < sizes[split] / sum(sizes.values()) < 0.065


@pytest.mark.parametrize("bits", [27, 31])
def test_dumps_with_a_long_window_are_read(tmp_path: Path, bits: int) -> None:
    data = "".join(json.dumps({"text": note}) + "\n" for note in NOTES).encode()
    parameters = zstandard.ZstdCompressionParameters(window_log=bits, enable_ldm=True)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    (tmp_path / "notes.jsonl.zst").write_bytes(compressor.compress(data) + compressor.flush())
    assert texts(FilesSource([str(tmp_path)], "text")) == {note.encode() for note in NOTES}


def test_fingerprint_follows_content_and_reading_alone(tmp_path: Path) -> None:
    def fingerprint(text_key: str = "text") -> object:
        return FilesSource([str(tmp_path / "notes")], text_key).fingerprint()

    write_notes(tmp_path / "notes")
    first = fingerprint()
    os.utime(tmp_path / "notes" / "00.txt", (1, 1))
    (tmp_path / "notes" / "00.txt").rename(tmp_path / "notes" / "00.MD")
    (tmp_path / "notes" / "left_out.png").touch()
    assert fingerprint() == fingerprint("body") == first, "no JSON is read, so its key decides nothing"
    (tmp_path / "notes" / "01.txt").write_bytes(b"changed")
    assert (second := fingerprint()) != first
    (tmp_path / "notes" / "02.txt").rename(tmp_path / "notes" / "02.txt.gz")
    assert fingerprint() != second
    (tmp_path / "notes" / "03.ndjson").write_text("{}")
    (tmp_path / "notes" / "02.txt.gz").rename(tmp_path / "notes" / "02.txt")
    assert (third := fingerprint()) not in (first, second, fingerprint("body"))
    (tmp_path / "notes" / "03.ndjson").rename(tmp_path / "notes" / "03.jsonl")
    assert fingerprint() == third
    (tmp_path / "notes" / "03.jsonl").rename(tmp_path / "notes" / "03.json")
    assert fingerprint() != third


def test_missing_unreadable_unknown_and_empty(tmp_path: Path) -> None:
    assert "No such file" in fails(tmp_path / "none.txt").value
    (tmp_path / "dir.txt").mkdir()
    assert "no text in this folder" in fails(tmp_path / "dir.txt").fix
    for name in ("a.pdf", "a.TXT.LZ4", "noname"):
        (tmp_path / "dir.txt" / name).write_bytes(b"x")
        assert "unknown kind of file" in fails(tmp_path / "dir.txt" / name).fix
    error = fails(tmp_path / "dir.txt")
    assert error.field.endswith("a.TXT.LZ4")
    assert "unknown compression" in error.fix
    (tmp_path / "dir.txt" / "a.TXT.LZ4").unlink()
    assert fails(tmp_path / "dir.txt").fix.endswith("it has a.pdf, noname")
    (tmp_path / "empty.txt").touch()
    assert "empty" in fails(tmp_path / "empty.txt").fix
    (tmp_path / "few.txt").write_bytes(b"a few words")
    assert fails(tmp_path / "few.txt").value == "11 bytes of different text"
    assert "no name of a file" in fails(Path("a\0b.txt")).fix
    assert "File name too long" in fails(tmp_path / ("x" * 300 + ".txt")).value


def test_links_are_followed_without_loops_and_each_file_is_read_once(tmp_path: Path) -> None:
    contents = write_notes(tmp_path / "top")
    top = tmp_path / "top"
    (top / "a").mkdir()
    (top / "a" / "up").symlink_to("..")
    (top / "a" / "self").symlink_to(".")
    (top / "again.txt").symlink_to("00.txt")
    (top / "hard.txt").hardlink_to(top / "01.txt")
    (top / "b").symlink_to("a")
    (top / "gone").symlink_to("nowhere")
    said: list[str] = []
    assert texts(FilesSource([str(top), str(top / "a" / "up")], "text"), said) == contents
    assert said[0].startswith("reading 40 file(s)")
    assert said[0].endswith("leaving out 2: gone, gone")
    (top / "gone.txt").symlink_to("nowhere")
    assert fails(top).field.endswith("gone.txt")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    assert "symbolic links" in fails(tmp_path / "loop.txt").value


def test_what_is_no_regular_file_does_not_block(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    assert "not a regular file" in fails(tmp_path).value


def test_names_that_are_not_text_can_be_shown(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for number, name in enumerate((b"caf\xe9.txt", b"two\nlines.txt", b"a:b [0:1].txt", b"\x1b[2J.md")):
        Path(os.fsdecode(os.path.join(os.fsencode(folder), name))).write_text(f"{number} lamps " * 30)
    _, manifest = prepare_files(folder)
    names = " ".join(name for split in SPLITS for name in manifest.splits[split].documents)
    assert names.isprintable()
    assert all(shown in names for shown in ("caf\\udce9.txt", "two\\nlines.txt", "a:b [0:1].txt", "\\x1b[2J.md"))
    Path(os.fsdecode(os.path.join(os.fsencode(folder), b"bad\xff\n.txt"))).write_bytes(b"\xff")
    error = fails(folder)
    assert str(error).isprintable()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x")
    path.chmod(0)
    assert "Permission" in fails(path).value
