"""Reads JSON: one value a line, a list of values, or one value."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from harmony_core.data.corpus import Document
from harmony_core.data.encoding import to_utf8, utf8_blocks, utf8_lines
from harmony_core.data.jsonlist import DECODER, BadList, begins_list, list_values
from harmony_core.data.records import HALF_A_PAIR, Reading, short
from harmony_core.errors import UserError

Blocks = Callable[[], Iterable[bytes]]


def json_documents(blocks: Blocks, in_lines: bool, reading: Reading) -> Iterator[Document]:
    """The texts of a JSON file.

    Lines are read one by one, and so are the values of a list (`list_values`). JSON may escape half a surrogate pair,
    which is no character and has no UTF-8: each becomes U+FFFD, and the log is told how many.

    Args:
        blocks: gives the file's bytes, decompressed.
        in_lines: whether it must be one value a line; else it may be.
        reading: of the file.

    Raises:
        UserError: it is no JSON, or (from `reading.bad`) a record is not an object with that key.
    """
    records = _lines(blocks, reading) if in_lines or _is_lines(blocks) else _whole(blocks, reading)
    replaced = 0
    for place, record in records:
        text = _text_of(record, place, reading)
        if text is not None:
            try:
                content = text.encode()
            except UnicodeEncodeError:
                text, found = HALF_A_PAIR.subn("\ufffd", text)
                replaced += found
                content = text.encode()
            yield Document(f"{reading.name}:{place}", content)
    if replaced:
        reading.log(f"{reading.where}: {replaced} half surrogate pair(s) replaced by U+FFFD")


def _is_lines(blocks: Blocks) -> bool:
    """Whether the first line is a whole value, and another follows; of a list, whether anything follows its end."""
    try:
        if begins_list(blocks(), ""):
            for _ in list_values(blocks(), ""):
                pass
            return False
    except BadList as error:
        return error.goes_on
    except (UserError, RecursionError):
        return False
    is_first = True
    for _, line in utf8_lines(blocks(), "", lambda error: None):
        if line.strip():
            if not is_first:
                return True
            try:
                _parse(line)
            except (ValueError, RecursionError):
                return False
            is_first = False
    return False


def _lines(blocks: Blocks, reading: Reading) -> Iterator[tuple[int, Any]]:
    """The values of the lines, with the number of each."""
    for number, line in utf8_lines(blocks(), reading.where, reading.bad):
        if line.strip():
            try:
                yield number, _parse(line)
            except RecursionError:
                reading.bad(_too_deep(line, f"{reading.where}:{number}"))
            except json.JSONDecodeError as error:
                fix = f"one JSON object a line is needed ({error.msg}, column {error.colno})"
                reading.bad(UserError(f"{reading.where}:{number}", short(line), fix))


def _whole(blocks: Blocks, reading: Reading) -> Iterator[tuple[int, Any]]:
    """The values of a list, or the one value, with the number of each from 1."""
    try:
        if begins_list(blocks(), reading.where):
            yield from enumerate(list_values(blocks(), reading.where), start=1)
            return
        data = to_utf8(b"".join(blocks()), reading.where)
        yield 1, _parse(data)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":
            yield from _lines(blocks, reading)
            return
        line = data.split(b"\n", error.lineno)[error.lineno - 1]
        raise _no_json(error.msg, error.lineno, line, reading) from None
    except BadList as error:
        raise _no_json(error.message, error.number, error.line, reading) from None
    except RecursionError:
        raise _too_deep(next(iter(utf8_blocks(blocks(), reading.where))), reading.where) from None


def _no_json(message: str, number: int, line: bytes | str, reading: Reading) -> UserError:
    fix = f"JSON is needed: an object, a list of them, or one a line ({message})"
    return UserError(f"{reading.where}:{number}", short(line), fix)


def _too_deep(data: bytes, where: str) -> UserError:
    return UserError(where, short(data), "lists or objects nested too deeply to be read; make them flat")


def _parse(data: bytes) -> Any:
    return DECODER.decode(data.decode("utf-8-sig"))


def _text_of(record: Any, place: int, reading: Reading) -> str | None:
    """The record's text; None where it has none and is skipped."""
    key, where = reading.text_key, f"{reading.where}:{place}"
    if not isinstance(record, dict):
        reading.bad(UserError(where, f"a {type(record).__name__}", f"an object with the key {key!r} is needed"))
        return None
    if isinstance(text := record.get(key), str):
        return text
    found = f"an object with the keys {', '.join(map(repr, record))}" if record else "an empty object"
    fault = f"the value of {key!r} is not text" if key in record else f"no key {key!r}"
    reading.bad(UserError(where, found, f"{fault}; set data.text_key to the key of the text, or leave the file out"))
    return None
