"""The fenced blocks of README and documentation, and what a comment above each says that is done with it.

`<!-- run -->`: it is run, in order, by a reader who has the tiny search as `results/nano`. `<!-- config: FILE -->` and
`<!-- space: FILE -->`: a whole file, which the page's later blocks may name. `<!-- check -->`: each command is held
against the options that it really has; so is every shell block without a comment. `<!-- compile -->`: Python that
is compiled and whose imports are there; so is every Python block without a comment. `<!-- not-run: REASON -->`.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
DEFAULTS = {"sh": "check", "bash": "check", "python": "compile", "py": "compile", "yaml": "yaml", "sql": "unsaid"}
_BLOCK = re.compile(
    r"^(?: *<!-- (?P<kind>[a-z-]+)(?:: *(?P<argument>[^\n]*?))? -->\n)?"
    r"^(?P<indent> *)(?P<fence>`{3,})(?P<language>[a-z]*)[^\n]*\n(?P<text>.*?)^(?P=indent)(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        page: its file, from the project's root.
        line: of its fence.
        language: after the fence.
        kind: what is done with it, by the comment above it or else by its language; empty is nothing.
        argument: what the comment says beside that.
        text: its lines without their common indentation.
    """

    page: str
    line: int
    language: str
    kind: str
    argument: str
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def facts(self) -> dict[str, str]:
        """What `reader` needs of it."""
        told = {name: str(value) for name, value in dataclasses.asdict(self).items()}
        return told | {"place": self.place}


def blocks_of(path: Path) -> Iterator[Block]:
    """Blocks of a page, in order."""
    text = path.read_text()
    for match in _BLOCK.finditer(text):
        kind = match["kind"] or DEFAULTS.get(match["language"], "")
        line = text.count("\n", 0, match.start("indent")) + 1
        page = path.relative_to(ROOT).as_posix()
        yield Block(page, line, match["language"], kind, match["argument"] or "", textwrap.dedent(match["text"]))


BLOCKS = [block for path in PAGES for block in blocks_of(path)]
# Those that somebody follows who has a search; the rest is held against the command line, or left alone.
FOLLOWED = [block for block in BLOCKS if block.kind not in ("", "check", "not-run")]
# Its reader is a stranger, who has no clone (tests/installed).
TUTORIAL = "docs/tutorial.md"
READER = Path(__file__).with_name("reader.py")
