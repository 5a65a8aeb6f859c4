"""What the shell lines that begin every job load and set, read without running them."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

_SOURCE = re.compile(r"^\s*(?:source|\.)\s+(\S+)", re.MULTILINE)
_LOAD = re.compile(r"^\s*module\s+(?:load|add)\s+([^|;&#\n]+)", re.MULTILINE)
_EXPORT = re.compile(r"^\s*export\s+(.+)$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class SetupScript:
    """Shell lines and the files that they source.

    Args:
        text: the lines, with those of the sourced files behind them.
        absent: sourced files that do not exist.
    """

    text: str
    absent: tuple[Path, ...] = ()

    @classmethod
    def read(cls, lines: str) -> SetupScript:
        """Reads what `lines` source, one level deep; paths that hold variables are left alone."""
        paths = [Path(_unquoted(word)) for word in _SOURCE.findall(lines) if "$" not in word]
        found = {path: text for path in paths if (text := _text(path)) is not None}
        return cls("\n".join([lines, *found.values()]), tuple(path for path in paths if path not in found))

    @property
    def modules(self) -> list[str]:
        """Modules in the order in which they are loaded."""
        return [word for words in _LOAD.findall(self.text) for word in words.split()]

    @property
    def variables(self) -> set[str]:
        """Names of the environment variables that are exported."""
        return {word.split("=")[0] for words in _EXPORT.findall(self.text) for word in words.split() if "=" in word}


def _unquoted(word: str) -> str:
    try:
        return next(iter(shlex.split(word)), word)
    except ValueError:
        # The quotes hold a space, so this is half a path, which does not exist.
        return word


def _text(path: Path) -> str | None:
    """A file's content, whatever its encoding is; None where it cannot be read."""
    try:
        return path.read_bytes().decode(errors="replace")
    except (OSError, ValueError):
        return None
