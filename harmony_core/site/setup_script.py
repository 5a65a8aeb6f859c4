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
        paths = [Path(shlex.split(word)[0]) for word in _SOURCE.findall(lines) if "$" not in word]
        texts = [path.read_text(encoding="utf-8") for path in paths if path.is_file()]
        return cls("\n".join([lines, *texts]), tuple(path for path in paths if not path.is_file()))

    @property
    def modules(self) -> list[str]:
        """Modules in the order in which they are loaded."""
        return [word for words in _LOAD.findall(self.text) for word in words.split()]

    @property
    def variables(self) -> set[str]:
        """Names of the environment variables that are exported."""
        return {word.split("=")[0] for words in _EXPORT.findall(self.text) for word in words.split() if "=" in word}
