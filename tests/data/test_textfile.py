import gzip
import json
from pathlib import Path

import pytest

from harmony_core.data.kinds import kind_of
from harmony_core.data.records import Reading, refuse
from harmony_core.data.textfile import documents_in
from harmony_core.errors import UserError


def read(name: str, data: bytes, text_key: str = "text", said: list[str] | None = None) -> list[tuple[str, bytes]]:
    kind = kind_of(Path(name))
    assert kind is not None
    log = [].append if said is None else said.append
    reading = Reading(name, name, text_key, refuse, log)
    # In blocks of three bytes every line and character lies in several.
    blocks = [data[start : start + 3] for start in range(0, min(len(data), 300), 3)] + [data[300:]]
    return [(document.name, document.text) for document in documents_in(lambda: blocks, kind, reading)]


def fails(name: str, data: bytes) -> UserError:
    with pytest.raises(UserError) as caught:
        read(name, data)
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.txt", "text"),
        ("A.TXT", "text"),
        ("b.v1.2.md", "text"),
        ("c.jsonl", "jsonl"),
        ("c.NDJSON", "jsonl"),
        ("d.Json.GZ", "json"),
        ("e.txt.zstd", "text"),
        ("f", None),
        ("f.gz", None),
        ("txt", None),
        ("f.txt.old", None),
        ("f.tar.gz", None),
        ("f.gz.txt", "text"),
    ],
)
def test_kind_follows_from_the_name(name: str, form: str | None) -> None:
    kind = kind_of(Path(name))
    assert (kind and kind.form) == form


def test_lines_of_json_are_documents() -> None:
    data = (
        b'\xef\xbb\xbf{"text": "one", "text_key": 3}\r\n\n  \n{"n": 1'
        + b"0" * 5000
        + b', "text": "two \\ud83d\\ude42"}'
    )
    assert read("a.jsonl", data) == [("a.jsonl:1", b"one"), ("a.jsonl:4", "two \U0001f642".encode())]
    assert read("a.jsonl", b'{"body": "\\u0000"}', "body") == [("a.jsonl:1", b"\0")]
    assert read("a.jsonl", b"\n \n") == []


def test_json_is_an_object_a_list_or_lines() -> None:
    records = [{"text": "one"}, {"text": "two"}]
    expected = [("a.json:1", b"one"), ("a.json:2", b"two")]
    assert read("a.json", json.dumps(records, indent=2).encode()) == expected
    assert read("a.json", b"\n".join(json.dumps(record).encode() for record in records)) == expected
    assert read("a.json", json.dumps(records[0], indent=2).encode("utf-16")) == expected[:1]
    assert read("a.json", b"[]") == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b'{"text": "ok"', "one JSON object a line"),
        (b"[1]", "an object with the key 'text' is needed"),
        (b'{"body": "x"}', "no key 'text'"),
        (b'{"text": 3}', "not text"),
        (b'{"text": null}', "not text"),
        (b"[" * 100_000, "nested too deeply"),
        (b"these words", "one JSON object a line"),
        (b'{"text": "a"} {"text": "b"}', "one JSON object a line"),
    ],
)
def test_bad_line_is_named(line: bytes, told: str) -> None:
    error = fails("a.jsonl", b'{"text": "fine"}\n\n' + line + b"\n")
    assert error.field == "a.jsonl:3"
    assert told in error.fix


def test_bad_json_is_named() -> None:
    assert "an object, a list of them, or one a line" in fails("a.json", b'[\n{"text": "a"},\n{"text" "b"}]').fix
    assert fails("a.json", b'[\n{"text": "a"},\n{"text" "b"}]').field == "a.json:3"
    assert fails("a.json", b'[{"text": "a"}, {"title": "b"}]').field == "a.json:2"
    assert "keys 'title', 'body'" in str(fails("a.json", b'{"title": 1, "body": 2}'))
    assert "nested too deeply" in fails("a.json", b"[" * 100_000).fix
    assert fails("a.json", b'{"text": "a"}\nwords\n').field == "a.json:2"
    assert "JSON is needed" in fails("a.json", b"").fix


def test_half_a_surrogate_pair_becomes_the_replacement_character_and_it_is_said() -> None:
    said: list[str] = []
    data = b'{"text": "a \\ud800"}\n{"text": "\\ude42\\ud83d"}\n{"text": "\\ud83d\\ude42"}\n'
    found = [text.decode() for _, text in read("a.jsonl", data, said=said)]
    assert found == ["a \ufffd", "\ufffd\ufffd", "\U0001f642"]
    assert said == ["a.jsonl: 3 half surrogate pair(s) replaced by U+FFFD"]


def test_bytes_that_are_no_utf_8_are_refused_within_json_and_compression() -> None:
    data = b'{"text": "fine"}\n{"text": "caf\xe9"}\n'
    for name, content in (("a.jsonl", data), ("a.jsonl.gz", gzip.compress(data)), ("a.json", data)):
        error = fails(name, content)
        assert error.field == name
        assert error.value == "byte 0xe9 at offset 30 (line 2) is not UTF-8"
        assert "iconv" in error.fix
    assert "NUL" in fails("a.jsonl", '{"text": "x"}'.encode("utf-16-le")).value
