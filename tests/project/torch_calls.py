"""What this code takes from torch: every dotted name, with how it is called. Read from the syntax tree alone."""

from __future__ import annotations

import ast
import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# What a search, a training and the GPU's check run.
FOLDERS = ("harmony_core", "benchmarks/gpu_check")


@dataclasses.dataclass(frozen=True)
class Use:
    """A place where a name of torch is used.

    Args:
        where: file and line.
        name: dotted, from `torch` on.
        positional: arguments of a call; None where it is not called, or takes `*arguments`.
        keywords: of a call, by name.
    """

    where: str
    name: str
    positional: int | None = None
    keywords: tuple[str, ...] = ()


def uses(folders: Iterable[str] = FOLDERS) -> list[Use]:
    """Every use of a name of torch in all files of these folders."""
    found = []
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            found += list(_of_file(tree, str(path.relative_to(ROOT))))
    return found


def attributes(folders: Iterable[str] = FOLDERS) -> dict[str, str]:
    """Every attribute that is read of anything, with a place where."""
    found: dict[str, str] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    found.setdefault(node.attr, f"{path.relative_to(ROOT)}:{node.lineno}")
    return found


def _of_file(tree: ast.Module, path: str) -> Iterator[Use]:
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torch":
                    names[alias.asname or "torch"] = alias.name if alias.asname else "torch"
                    yield Use(f"{path}:{node.lineno}", alias.name)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch" and not node.level:
            for alias in node.names:
                names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
                yield Use(f"{path}:{node.lineno}", f"{node.module}.{alias.name}")
    inner: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _dotted(node.func, names)) is not None:
            inner.add(id(node.func))
            starred = any(isinstance(one, ast.Starred) for one in node.args)
            keywords = tuple(one.arg for one in node.keywords if one.arg is not None)
            yield Use(f"{path}:{node.lineno}", name, None if starred else len(node.args), keywords)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and id(node) not in inner:
            name = _dotted(node, names)
            inner.add(id(node.value))
            if name is not None:
                yield Use(f"{path}:{node.lineno}", name)


def _dotted(node: ast.expr, names: dict[str, str]) -> str | None:
    """`nn.functional.softmax` as torch calls it; None for what begins elsewhere."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and (base := _dotted(node.value, names)) is not None:
        return f"{base}.{node.attr}"
    return None
