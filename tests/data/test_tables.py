"""Parquet, Arrow, CSV and data sets that `datasets` saved; `saved-by-datasets` was written by its version 5.2.0."""

import contextlib
import gzip
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import ipc

from harmony_core.data import DataConfig, DataManifest, prepare
from harmony_core.data.corpus import SPLITS
from harmony_core.data.files import FilesSource
from harmony_core.errors import UserError

SAVED = Path(__file__).parent / "saved-by-datasets"
NOTES = [f"note {number}: the lamp is green,\nand the river walks north. é\r\n" for number in range(30)]
TABLE = pa.table({"id": range(30), "text": NOTES})
Writer = Callable[[Path, pa.Table], None]


def write_stream(path: Path, table: pa.Table) -> None:
    with ipc.new_stream(path, table.schema) as stream:
        stream.write_table(table, max_chunksize=7)


def write_file(path: Path, table: pa.Table) -> None:
    with ipc.new_file(path, table.schema, options=ipc.IpcWriteOptions(compression="zstd")) as file:
        file.write_table(table, max_chunksize=7)


def write_parquet(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, row_group_size=11)


def write_csv(path: Path, table: pa.Table) -> None:
    rows = [",".join('"' + str(value).replace('"', '""') + '"' for value in row.values()) for row in table.to_pylist()]
    text = "\r\n".join([",".join(table.column_names), *rows, ""])
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


WRITERS: dict[str, Writer] = {
    "a.parquet": write_parquet,
    "a.arrow": write_stream,
    "a.feather": write_file,
    "a.CSV": write_csv,
    "a.csv.gz": write_csv,
}


def source(*paths: Path | str, text_key: str = "text", skips: bool = False) -> FilesSource:
    return FilesSource([str(path) for path in paths], text_key, skips)


def texts(*paths: Path | str, text_key: str = "text") -> list[str]:
    corpus = source(*paths, text_key=text_key).documents([].append)
    return sorted(document.text.decode() for _, document in corpus.parts())


def fails(path: Path | str, text_key: str = "text") -> UserError:
    with pytest.raises(UserError) as caught:
        texts(path, text_key=text_key)
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize("name", WRITERS)
def test_a_column_of_text(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, TABLE)
    assert texts(tmp_path / name) == texts(tmp_path) == sorted(NOTES)
    [first] = [document.name for _, document in source(tmp_path).documents(print).parts()][:1]
    assert first.startswith(f"{name}:")


def test_a_data_set_that_was_saved(tmp_path: Path) -> None:
    whole = [f"note {number}: the lamp is green, and the river walks north." for number in range(24)]
    assert texts(SAVED) == sorted(whole)
    assert texts(SAVED / "train") == sorted(whole[:16])
    shutil.copytree(SAVED, tmp_path / "copy")
    train = tmp_path / "copy" / "train"
    write_stream(train / "cache-0123.arrow", TABLE)
    assert texts(tmp_path / "copy") == sorted(whole), "a cache is no part of it"
    state = json.loads((train / "state.json").read_text())
    for filename in ("../../x.arrow", "/etc/passwd", "", None):
        (train / "state.json").write_text(json.dumps({**state, "_data_files": [{"filename": filename}]}))
        assert "no names of files" in fails(tmp_path).value
    (train / "state.json").write_text(json.dumps({**state, "_indices_files": [{"filename": "indices.arrow"}]}))
    assert "flatten_indices" in fails(tmp_path).fix
    (train / "state.json").write_text(json.dumps(state))
    (train / "data-00001-of-00002.arrow").unlink()
    error = fails(tmp_path)
    assert error.field.endswith("data-00001-of-00002.arrow")
    assert "copy the folder again" in error.fix


@pytest.mark.parametrize("name", WRITERS)
def test_a_column_that_is_not_there_or_is_no_text(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, TABLE.append_column("body", [NOTES]))
    error = fails(tmp_path / name, text_key="content")
    assert error.value == "no column 'content'"
    assert error.fix.startswith("set data.text_key to the column of the text; columns of text here: ")
    assert "'text', 'body'" in error.fix
    if "csv" not in name.lower():
        assert fails(tmp_path / name, text_key="id").value == "the column 'id' is not text"
    twice = pa.Table.from_arrays([TABLE["text"], TABLE["text"]], names=["text", "text"])
    if name != "a.csv.gz" and name != "a.CSV":
        WRITERS[name](tmp_path / name, twice)
    else:
        (tmp_path / "b.csv").write_text("text,text\na,b\n")
    assert "2 columns with the name 'text'" in fails(tmp_path / ("b.csv" if "csv" in name.lower() else name)).value


def test_kinds_of_text_columns(tmp_path: Path) -> None:
    for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())):
        write_stream(tmp_path / "a.arrow", pa.table({"text": pa.array(NOTES).cast(kind)}))
        assert texts(tmp_path) == sorted(NOTES)
    write_parquet(tmp_path / "b.parquet", pa.table({"text": pa.array([note.encode() for note in NOTES])}))
    assert "no column here holds text" in fails(tmp_path / "b.parquet").fix


def test_damage_is_one_line(tmp_path: Path) -> None:
    draw = random.Random(0)
    for name in ("a.parquet", "a.arrow", "a.feather"):
        WRITERS[name](tmp_path / name, TABLE)
        whole = (tmp_path / name).read_bytes()
        refused = 0
        for number in range(60):
            damaged = bytearray(whole)
            if number % 2:
                damaged = damaged[: draw.randrange(len(whole))]
            else:
                damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
            (tmp_path / name).write_bytes(damaged)
            with contextlib.suppress(UserError):
                texts(tmp_path / name)
                refused -= 1
            refused += 1
        assert refused > 25
        (tmp_path / name).write_bytes(b"")
        assert "damaged" in fails(tmp_path / name).fix
    # Offsets that lead out of the buffer must not be followed.
    lying = pa.Array.from_buffers(
        pa.string(), 2, [None, pa.py_buffer(b"\0\0\0\0\xff\xff\0\0\1\0\0\0"), pa.py_buffer(b"x")]
    )
    write_stream(tmp_path / "lying.arrow", pa.table({"text": lying}))
    assert "damaged" in fails(tmp_path / "lying.arrow").fix


@pytest.mark.parametrize(
    ("content", "place", "value"),
    [
        ("text,n\nfine,1\nragged\n", "a.csv:3", "1 field(s) where the first line has 2: ragged"),
        ('text,n\n"two\nlines",1\na,b,c\n', "a.csv:4", "3 field(s) where the first line has 2: a"),
        ('text,n\nfine,1\n"open,2\n', "a.csv:3", "unexpected end of data"),
        ('text,n\n"a"b,2\n', "a.csv:2", "',' expected after '\"'"),
        ("", "a.csv", "an empty file"),
        ("text,n\nold\rline end,2\n", "a.csv:2", "new-line character seen in unquoted field"),
    ],
)
def test_csv_that_is_none(tmp_path: Path, content: str, place: str, value: str) -> None:
    (tmp_path / "a.csv").write_bytes(content.encode())
    error = fails(tmp_path / "a.csv")
    assert error.field == str(tmp_path / place)
    assert value in error.value


def test_bad_records_are_skipped_on_request_and_counted(tmp_path: Path) -> None:
    lines = [json.dumps({"text": note}) for note in NOTES]
    bad = ['{"text": 3}', "words", "[1]", "{}", '{"text": "caf\\u00e9"'.replace("\\u00e9", "\udce9")]
    content = "\n".join([*lines[:9], *bad, *lines[9:]]).encode("utf-8", "surrogateescape")
    (tmp_path / "a.jsonl").write_bytes(content)
    (tmp_path / "b.csv").write_text('text,n\nbut a row,1\nragged\n"x"y,2\nlast of all,3\n')
    write_parquet(tmp_path / "c.parquet", pa.table({"text": ["in a table", None]}))
    names = [str(tmp_path / name) for name in ("a.jsonl", "b.csv", "c.parquet")]
    assert fails(names[0]).field == f"{names[0]}:10"
    said: list[str] = []
    corpus = source(*names, skips=True).documents(said.append)
    found = {document.text.decode() for _, document in corpus.parts()}
    assert found == {*NOTES, "but a row", "last of all", "in a table"}
    assert corpus.left_out.bad_records == 8
    [line] = [line for line in said if line.startswith("skipped")]
    assert line.startswith(f"skipped 8 bad record(s): {names[0]}:10: ")
    config = {"source": "files", "paths": names, "skip_bad_records": True}
    manifest = prepare(DataConfig.parse(config), tmp_path / "data", [].append)
    assert sum(manifest.splits[split].num_documents for split in SPLITS) == 33
    (tmp_path / "a.jsonl").write_text("\n".join(bad[:4]))
    with pytest.raises(UserError, match=r"files are empty.*first bad record.*a\.jsonl:1"):
        source(names[0], skips=True).documents(print)


def test_skipping_is_other_data_and_no_skipping_is_as_ever(
    prepare_files: Callable[..., tuple[Path, DataManifest]], tmp_path: Path
) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": note}) for note in NOTES))
    ids = {prepare_files(tmp_path / "a.jsonl", skip_bad_records=skips)[1].id for skips in (False, True)}
    assert len(ids) == 2
    (tmp_path / "a.txt").write_text("".join(NOTES))
    ids = {prepare_files(tmp_path / "a.txt", skip_bad_records=skips)[1].id for skips in (False, True)}
    assert len(ids) == 1, "a text has no records"


def test_tables_beside_text_are_left_out_unless_they_are_larger(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(NOTES) * 5)
    write_csv(tmp_path / "b.csv", TABLE)
    said: list[str] = []
    source(tmp_path).documents(said.append)
    assert said[0].endswith("leaving out 1: b.csv")
    assert len(texts(tmp_path / "b.csv", tmp_path / "a.txt")) > 30, "what is named is read"
    (tmp_path / "a.txt").write_text("Read me: this is a data set.\n" * 10)
    error = fails(tmp_path)
    assert "text (a.txt) beside larger tables (b.csv)" in error.value
    assert texts(f"{tmp_path}/*.csv") == sorted(NOTES)


def test_patterns_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, note in enumerate(NOTES):
        folder = tmp_path / f"part-{number % 3}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:02}.txt").write_bytes(note.encode())
        (folder / "x.png").write_bytes(b"\x89PNG")
    monkeypatch.setenv("HOME", str(tmp_path))
    everything = sorted(NOTES)
    for pattern in (f"{tmp_path}/*/*.txt", f"{tmp_path}/**", "~/part-?", "~", f"{tmp_path}/part-[012]"):
        assert texts(pattern) == everything, pattern
    ids = {json.dumps(source(one).fingerprint()) for one in (f"{tmp_path}/*/*.txt", "~/**/*.txt", tmp_path)}
    assert len(ids) == 1, "how files are named decides nothing"
    assert "no file matches" in fails(f"{tmp_path}/*.jsonl").fix
    assert "no such user" in fails("~nobody-at-all/x").fix
    odd = tmp_path / "[a]*.txt"
    odd.write_text("".join(NOTES))
    assert sum(map(len, texts(odd))) == len("".join(NOTES)), "a file that is there is no pattern"


def test_hostile_names_are_text(tmp_path: Path) -> None:
    folder = tmp_path / "\x1b[2J<b>"
    folder.mkdir()
    write_csv(folder / "\n[red]\x1b.csv", TABLE)
    write_parquet(tmp_path / "plain.parquet", TABLE)
    (tmp_path / "plain.parquet").rename(folder / "\udcff.parquet")
    said: list[str] = []
    corpus = source(folder).documents(said.append)
    assert all(line.isprintable() for line in said)
    assert all(document.name.isprintable() for _, document in corpus.parts())
