"""Text of a search as text: whatever it holds, it neither moves a cursor nor breaks a picture's XML."""

from __future__ import annotations

from html import escape


def printable(text: str) -> str:
    """The text with control characters, and those that turn its direction, as they are written in Python."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)


def html(text: str) -> str:
    """The text as a part of a page, in quotes of an attribute too."""
    return escape(printable(text))
