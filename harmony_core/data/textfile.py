"""Reads one text or JSON file, plain or compressed; every way it can be wrong is told in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from harmony_core.data.compression import COMPRESSIONS, Compression, decompress
from harmony_core.data.corpus import Document, Log
from harmony_core.data.encoding import shown, to_utf8
from harmony_core.errors import UserError

Form = Literal["text", "jsonl", "json"]
# Suffixes are in small letters.
FORMS: dict[str, Form] = {".txt": "text", ".md": "text", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json"}
READABLE = f"{', '.join(FORMS)}, plain or with {', '.join(COMPRESSIONS)}"
_UNKNOWN_COMPRESSIONS = {".7z", ".br", ".lz4", ".lzma", ".rar", ".sz", ".z", ".zip"}
_HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class Kind(NamedTuple):
    """How a file is read; its name decides.

    Args:
        form: `text` is one document, `jsonl` one a line, `json` as `documents_in` says.
        compression: what is undone first.
    """

    form: Form
    compression: Compression | None = None


def kind_of(path: Path) -> Kind | None:
    """The kind of a name (`a.txt`, `b.JSONL.zst`); None if it is not known to be text."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    compression = COMPRESSIONS.get(suffixes[-1]) if suffixes else None
    if compression:
        suffixes.pop()
    form = FORMS.get(suffixes[-1]) if suffixes else None
    return Kind(form, compression) if form else None


def is_unknown_compression(path: Path) -> bool:
    """Whether the name says text under a compression that is not known here (`a.txt.lz4`)."""
    suffixes = [suffix.lower() for suffix in path.suffixes[-2:]]
    return len(suffixes) == 2 and suffixes[0] in FORMS and suffixes[1] in _UNKNOWN_COMPRESSIONS


def read_bytes(path: Path) -> bytes:
    """The file as it is on disk.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(shown(path), error.strerror, "name a file that exists and is readable") from None


def documents_in(data: bytes, kind: Kind, name: str, text_key: str, where: str, log: Log) -> Iterator[Document]:
    """The documents of a file's bytes.

    A `.json` file is one object, a list of objects, or objects one a line as in JSONL; a `.jsonl` file is always
    the last. JSON may escape half a surrogate pair, which is no character and has no UTF-8: each becomes U+FFFD,
    and the log is told how many.

    Args:
        data: the file as it is on disk.
        kind: how it is read.
        name: how its documents are called in the manifest.
        text_key: key of the text in JSON.
        where: the file's name, for messages.
        log: told of what was replaced.

    Raises:
        UserError: it cannot be decompressed or decoded, or a record is not an object with that key.
    """
    if kind.compression:
        data = decompress(data, kind.compression, where)
    data = to_utf8(data, where)
    if kind.form == "text":
        yield Document(name, data)
        return
    replaced = 0
    for place, record in _records(data, kind.form, where):
        text = _text_of(record, f"{where}:{place}", text_key)
        text, found = _HALF_A_PAIR.subn("\ufffd", text)
        replaced += found
        yield Document(f"{name}:{place}", text.encode())
    if replaced:
        log(f"{where}: {replaced} half surrogate pair(s) replaced by U+FFFD")


def _records(data: bytes, form: Form, where: str) -> Iterator[tuple[int, Any]]:
    """The values of a JSON file with the line of each, or its number in a list, from 1."""
    if form == "json":
        try:
            value = _parse(data)
        except json.JSONDecodeError as error:
            # The file may hold one value a line.
            if error.msg != "Extra data":
                fix = f"JSON is needed: an object, a list of them, or one a line ({error.msg})"
                line = data.split(b"\n", error.lineno)[error.lineno - 1]
                raise UserError(f"{where}:{error.lineno}", _short(line), fix) from None
        except RecursionError:
            raise _too_deep(data, where) from None
        else:
            yield from enumerate(value if isinstance(value, list) else [value], start=1)
            return
    for number, line in enumerate(data.split(b"\n"), start=1):
        if line.strip():
            try:
                yield number, _parse(line)
            except RecursionError:
                raise _too_deep(line, f"{where}:{number}") from None
            except json.JSONDecodeError as error:
                fix = f"one JSON object a line is needed ({error.msg}, column {error.colno})"
                raise UserError(f"{where}:{number}", _short(line), fix) from None


def _too_deep(data: bytes, where: str) -> UserError:
    return UserError(where, _short(data[:240]), "lists or objects nested too deeply to be read; make them flat")


def _parse(data: bytes) -> Any:
    # Python refuses integers of many digits, and this needs none.
    return json.loads(data, parse_int=float)


def _text_of(record: Any, where: str, text_key: str) -> str:
    if not isinstance(record, dict):
        raise UserError(where, f"a {type(record).__name__}", f"an object with the key {text_key!r} is needed")
    if not isinstance(text := record.get(text_key), str):
        found = f"an object with the keys {', '.join(map(repr, record))}" if record else "an empty object"
        fault = f"the value of {text_key!r} is not text" if text_key in record else f"no key {text_key!r}"
        raise UserError(where, found, f"{fault}; set data.text_key to the key of the text, or leave the file out")
    return text


def _short(line: bytes) -> str:
    text = line.decode("utf-8", errors="replace").strip()
    return text if len(text) <= 60 else f"{text[:57]}..."
