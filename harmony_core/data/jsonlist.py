"""The values of a JSON list one after another, with a window on the text that is as long as the longest of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from harmony_core.data.encoding import utf8_blocks

# Python refuses integers of many digits, and this needs none.
DECODER = json.JSONDecoder(parse_int=float)
_SPACE = re.compile(r"[ \t\n\r]*")
# A window grows by at least so many characters.
_LEAST = 2**20
# What is cut off within a token, such as -Infinity or a pair of escapes, is wrong at most so far before its end.
_TOKEN = 16


class BadList(ValueError):
    """A text that is no list of JSON.

    Args:
        message: as Python's decoder has it.
        number: of the line.
        line: its text, or the end of it from the value that is wrong on.
        goes_on: whether a whole list is there, and something after it.
    """

    def __init__(self, message: str, number: int, line: str, goes_on: bool = False) -> None:
        super().__init__(message)
        self.message, self.number, self.line, self.goes_on = message, number, line, goes_on


def begins_list(blocks: Iterable[bytes], where: str) -> bool:
    """Whether a text's first character but space begins a list; arguments and errors as for `utf8_blocks`."""
    is_first = True
    for block in utf8_blocks(blocks, where):
        text = block.decode()
        text = (text.removeprefix("\ufeff") if is_first else text).lstrip(" \t\n\r")
        is_first = is_first and not block
        if text:
            return text[0] == "["
    return False


def list_values(blocks: Iterable[bytes], where: str) -> Iterator[Any]:
    """The values of a list.

    Args:
        blocks: of a text that `begins_list`.
        where: the file's name, for messages.

    Raises:
        BadList: it is no list, or not that alone.
        RecursionError: a value is nested too deeply.
        UserError: it is no text.
    """
    window = _Window(blocks, where)
    window.skip("[")
    if window.next() != "]":
        yield window.value()
        while window.next() == ",":
            window.skip(",")
            yield window.value()
    if window.next() != "]":
        raise window.bad("Expecting ',' delimiter", window.at)
    window.skip("]")
    if window.next():
        raise window.bad("Extra data", window.at, goes_on=True)


class _Window:
    """The part of a text that is looked at.

    Args:
        blocks: of the file.
        where: its name.
    """

    def __init__(self, blocks: Iterable[bytes], where: str) -> None:
        self._rest = utf8_blocks(blocks, where)
        self._text, self._lines, self.at = "", 0, 0
        if self.next() == "\ufeff":
            self.at += 1

    def next(self) -> str:
        """The next character but space, at which the window then is; none at the end."""
        while True:
            found = _SPACE.match(self._text, self.at)
            self.at = len(self._text) if found is None else found.end()
            if self.at < len(self._text):
                return self._text[self.at]
            if not self._grow():
                return ""

    def skip(self, character: str) -> None:
        """Goes on after a character that must come next."""
        if self.next() != character:
            raise self.bad("Expecting value", self.at)
        self.at += 1

    def value(self) -> Any:
        """The next value, of which more is read until it is whole."""
        self.next()
        while True:
            try:
                value, end = DECODER.raw_decode(self._text, self.at)
            except json.JSONDecodeError as error:
                is_cut = error.msg.startswith("Unterminated string") or error.pos >= len(self._text) - _TOKEN
                if is_cut and self._grow():
                    continue
                raise self.bad(error.msg, error.pos) from None
            # A number may go on.
            if end >= len(self._text) - _TOKEN and self._grow():
                continue
            self.at = end
            return value

    def bad(self, message: str, place: int, goes_on: bool = False) -> BadList:
        """What is wrong at a place of the window."""
        begin, end = self._text.rfind("\n", 0, place) + 1, self._text.find("\n", place)
        number = self._lines + self._text.count("\n", 0, place) + 1
        return BadList(message, number, self._text[begin : None if end < 0 else end], goes_on)

    def _grow(self) -> bool:
        """Whether there is more text. Each time as much is read as is held: what is long is read a few times over."""
        wanted, added = max(_LEAST, len(self._text) - self.at), list[str]()
        for block in self._rest:
            added.append(block.decode())
            wanted -= len(added[-1])
            if wanted <= 0:
                break
        if not any(added):
            return False
        self._lines += self._text.count("\n", 0, self.at)
        self._text, self.at = self._text[self.at :] + "".join(added), 0
        return True
