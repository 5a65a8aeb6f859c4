"""Nobody but the file of a kind asks for a block's class: what a block can do it declares itself."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import harmony_core.models  # noqa: F401  registers the modules
from harmony_core.architecture import Block
from harmony_core.models.block import BlockModule

PACKAGE = Path(__file__).parents[2] / "harmony_core"
# Exchange with other libraries maps kinds to theirs.
ROOMS = sorted({path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()} - {"interop"})


def subclasses(cls: type) -> set[str]:
    return {cls.__name__} | {name for one in cls.__subclasses__() for name in subclasses(one)}


# Whether something is a block at all may be asked.
CLASSES = (subclasses(Block) | subclasses(BlockModule)) - {"Block", "BlockModule"}


def asked(path: Path) -> list[str]:
    """`line: class` of each isinstance, issubclass or case that names the class of a kind."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        named: list[ast.expr] = []
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            named = node.args[1:]
        elif isinstance(node, ast.MatchClass):
            named = [node.cls]
        names = {part.id for one in named for part in ast.walk(one) if isinstance(part, ast.Name)}
        found += [f"{node.lineno}: {name}" for name in sorted(names & CLASSES)]  # type: ignore[attr-defined]
    return found


def test_the_classes_are_known() -> None:
    assert {"Attention", "MoE", "HyenaLI", "MoEModule", "GroupedFIRModule"} <= CLASSES


@pytest.mark.parametrize("room", ROOMS)
def test_no_class_of_a_kind_is_asked_for(room: str) -> None:
    paths = sorted((PACKAGE / room).rglob("*.py"))
    assert {str(path.relative_to(PACKAGE)): asked(path) for path in paths if asked(path)} == {}


def test_what_asks_is_found(tmp_path: Path) -> None:
    text = "def f(b):\n    return isinstance(b, int | MoE) or issubclass(b, (Mamba, str))\n"
    (tmp_path / "a.py").write_text(text)
    assert asked(tmp_path / "a.py") == ["2: MoE", "2: Mamba"]
