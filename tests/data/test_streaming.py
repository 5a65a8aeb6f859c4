"""What is read in pieces is what is read as a whole, and so is what is refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest

from harmony_core.data import jsonlist
from harmony_core.data.encoding import to_utf8, utf8_blocks
from harmony_core.data.jsonlist import BadList, begins_list, list_values
from harmony_core.errors import UserError

TEXT = "naïve 東京 🙂 \U00010348\r\n second\nthird é\n"


def cut(data: bytes, draw: random.Random) -> Iterator[bytes]:
    """The bytes in blocks of a few, some of them empty."""
    place = 0
    while place < len(data):
        size = draw.randrange(6)
        yield data[place : place + size]
        place += size


def outcome(read: Callable[[], bytes]) -> bytes | str:
    try:
        return read()
    except UserError as error:
        return str(error)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-be"])
def test_a_text_in_blocks_is_the_text_as_a_whole(encoding: str) -> None:
    draw = random.Random(encoding)
    mark = "\ufeff" if encoding.endswith("-be") else ""
    data = (mark + TEXT).encode(encoding)
    assert to_utf8(data, "a") == TEXT.encode()
    for _ in range(100):
        assert b"".join(utf8_blocks(cut(data, draw), "a")) == TEXT.encode()
    wrong = 0
    for _ in range(300):
        # One byte is changed after the mark: the place that is told is the same, however the text is cut.
        place = draw.randrange(4, len(data))
        damaged = data[:place] + bytes([draw.choice([0x80, 0xC3, 0xD8, 0xDC, 0xFF])]) + data[place + 1 :]
        damaged = damaged[: draw.randrange(place + 1, len(data) + 1)]
        whole = outcome(lambda damaged=damaged: to_utf8(damaged, "a"))  # type: ignore[misc]
        assert outcome(lambda damaged=damaged: b"".join(utf8_blocks(cut(damaged, draw), "a"))) == whole  # type: ignore[misc]
        wrong += isinstance(whole, str)
    assert wrong > 10


def any_value(draw: random.Random, depth: int = 0) -> object:
    kinds: list[Callable[[], object]] = [
        lambda: draw.choice([True, False, None, float("-inf"), 0.5, -1e-7, 123456.75, 2.0**70]),
        lambda: "".join(draw.choices('ab"\\\n\t 京🙂\ud83d[]{},', k=draw.randrange(30))),
    ]
    if depth < 3:
        kinds.append(lambda: [any_value(draw, depth + 1) for _ in range(draw.randrange(4))])
        kinds.append(lambda: {str(number): any_value(draw, depth + 1) for number in range(draw.randrange(4))})
    return draw.choice(kinds)()


def read_list(data: bytes, draw: random.Random) -> list[object] | None:
    try:
        return list(list_values(cut(data, draw), "a"))
    except BadList:
        return None


def test_a_list_in_blocks_is_the_list_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlist, "_LEAST", 1)
    draw = random.Random(0)
    right = wrong = 0
    for number in range(400):
        values = [any_value(draw) for _ in range(draw.randrange(6))]
        text = json.dumps(values, indent=draw.choice([None, 1]), ensure_ascii=number % 2 == 0)
        data = text.encode(errors="replace")
        assert begins_list(cut(data, draw), "a")
        assert read_list(data, draw) == jsonlist.DECODER.decode(data.decode())
        place = draw.randrange(1, len(text))
        damaged = (
            data[:place] + draw.choice([b"", b",", b"]", b'"', b"7", b"[", b" x"]) + data[place + draw.randrange(2) :]
        )
        try:
            expected = jsonlist.DECODER.decode(damaged.decode(errors="replace"))
        except json.JSONDecodeError:
            expected = None
        assert read_list(damaged.decode(errors="replace").encode(), draw) == expected
        right, wrong = right + (expected is not None), wrong + (expected is None)
    assert min(right, wrong) > 40


def test_a_list_is_told_apart_from_lists_in_lines() -> None:
    draw = random.Random(0)
    for text, goes_on in (("[1] [2]", True), ("[1]\n\n", None), ("[1", False), ("[1,]", False)):
        try:
            list(list_values(cut(text.encode(), draw), "a"))
            found = None
        except BadList as error:
            found = error.goes_on
        assert found is goes_on


def test_what_is_wrong_in_a_long_list_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jsonlist, "_LEAST", 1)
    text = "[\n" + ",\n".join(f'{{"text": "number {number}"}}' for number in range(200)) + ',\n{"text" 3}\n]'
    with pytest.raises(BadList) as caught:
        list(list_values(cut(text.encode(), random.Random(0)), "a"))
    assert (caught.value.number, caught.value.message) == (202, "Expecting ':' delimiter")
    assert caught.value.line.startswith('{"text" 3}')


def test_a_list_is_held_value_by_value() -> None:
    """A file of any length is read with a window of a few blocks."""
    read = 0

    def blocks() -> Iterator[bytes]:
        nonlocal read
        yield b"["
        while read < 400:
            read += 1
            yield b'{"text": "' + b"x" * 100_000 + b'"},'
        yield b"0]"

    for number, _ in enumerate(list_values(blocks(), "a")):
        assert read <= number + 2 + 2 * 2**20 // 100_000
    assert read == 400
