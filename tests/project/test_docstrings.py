"""A public function of three parameters or more says in its docstring's `Args:` what each of them means.

Public is what has no leading underscore, in its own name or in that of a class around it. What a constructor takes is
said by it or by its class. To say it once is enough:

- A method may leave it to the method of a base class of ours.
- "Arguments as for `name`" leaves it to that function, method or class of ours.
- A parameter of a command may leave it to its help text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("harmony_core", "snakemake_executor_plugin_submitit", "snakemake_logger_plugin_harmony")
# Folders that do not hold to it yet.
UNREAD: tuple[str, ...] = ()
FEWEST = 3
REFERENCE = re.compile(r"[Aa]rguments\s+as\s+for\s+`+([\w.]+)`+")
ARGS = re.compile(r"^Args:\n((?:    .*\n?|\n(?=    ))*)", re.MULTILINE)
ENTRY = re.compile(r"^ {4}\*{0,2}(\w+):", re.MULTILINE)


@dataclass(frozen=True)
class Function:
    """A public function, method or constructor; no tree of it is kept, which the garbage collector would walk."""

    place: str
    name: str
    parameters: tuple[str, ...]
    annotations: dict[str, str]
    docstring: str


@dataclass
class Sources:
    """What the files say of their functions and classes, by name within their file."""

    functions: list[Function] = field(default_factory=list)
    explained: dict[str, set[str]] = field(default_factory=dict)
    references: dict[str, set[str]] = field(default_factory=dict)
    bases: dict[str, set[str]] = field(default_factory=dict)
    # Annotations that hold a help text of their own.
    helped: set[str] = field(default_factory=set)

    def read(self, place: str, text: str) -> None:
        tree = ast.parse(text)
        self._visit(tree, "", place)
        for node in tree.body:
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript):
                text = ast.unparse(node.value)
                self.helped |= {ast.unparse(target) for target in node.targets if has_help(text)}

    def _visit(self, node: ast.AST, prefix: str, place: str) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If | ast.Try):
                self._visit(child, prefix, place)
            if not isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            name, docstring = prefix + child.name, ast.get_docstring(child) or ""
            self.explained.setdefault(name, set()).update(entries(docstring))
            self.references.setdefault(name, set()).update(REFERENCE.findall(docstring))
            if isinstance(child, ast.ClassDef):
                bases = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in child.bases}
                self.bases.setdefault(name, set()).update(bases)
                self._visit(child, f"{name}.", place)
            elif not re.search(r"\b_", name.removesuffix("__init__")):
                every = child.args
                found = [*every.posonlyargs, *every.args, every.vararg, *every.kwonlyargs, every.kwarg]
                taken = [one for one in found if one is not None and one.arg not in ("self", "cls")]
                names = tuple(one.arg for one in taken)
                # To write an annotation out takes longer than to read the file: of those that may matter.
                silent = len(taken) >= FEWEST and not entries(docstring)
                annotations = {one.arg: ast.unparse(one.annotation) for one in taken if silent and one.annotation}
                self.functions.append(Function(f"{place}:{child.lineno}", name, names, annotations, docstring))

    def problems(self) -> Iterator[str]:
        for one in self.functions:
            own = entries(one.docstring)
            if extra := sorted(own - set(one.parameters)):
                yield f"{one.place}: {one.name} has no parameter {', '.join(extra)}"
            if len(one.parameters) < FEWEST:
                continue
            helped = {name for name, text in one.annotations.items() if has_help(text) or text in self.helped}
            if missing := sorted(set(one.parameters) - helped - own - self._said_elsewhere(one)):
                yield f"{one.place}: {one.name} does not say under Args: what {', '.join(missing)} means"

    def _said_elsewhere(self, one: Function) -> set[str]:
        owner, _, method = one.name.rpartition(".")
        above, left = set[str](), [owner]
        while left:
            new = self.bases.get(left.pop(), set()) - above
            above |= new
            left += new
        names = REFERENCE.findall(one.docstring) + [f"{name}.{method}" for name in above]
        if method == "__init__":
            names += [owner, *above, *self.references[owner]]
        return set().union(*(self.explained.get(name, set()) for name in names))


def entries(docstring: str) -> set[str]:
    """Names of the parameters that `Args:` explains."""
    section = ARGS.search(docstring)
    return set(ENTRY.findall(section[1])) if section else set()


def has_help(annotation: str) -> bool:
    """Whether it is `Annotated` with an option or argument of typer that has a help text."""
    return "typer." in annotation and "help=" in annotation


def test_every_parameter_is_explained() -> None:
    sources = Sources()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if not (place := str(path.relative_to(ROOT))).startswith(UNREAD):
                sources.read(place, path.read_text())
    problems = list(sources.problems())
    assert not problems, "\n".join(problems)


SAID = '''"""Says all.

    Args:
        first: in tokens,
            and more.
        *second: others.
        third: a name: of somebody.

    Raises:
        ValueError: never.
    """
'''


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (f"def work(first, *second, third):\n    {SAID}", ""),
        ("def work(first, second): ...", ""),
        ("def work(first, second, third): ...", "first, second, third"),
        (f"def work(first, second, third, fourth):\n    {SAID}", "fourth"),
        ("def _work(first, second, third): ...", ""),
        ("class _Private:\n  def work(self, first, second, third): ...", ""),
        ("class Public:\n  def work(self, first, second, third): ...", "first, second, third"),
        (f"class Public:\n    {SAID}\n    def __init__(self, first, second, third): ...", ""),
        (
            f"def other(first, second, third):\n    {SAID}\n"
            "class Public:\n    'Arguments as for `other`.'\n    def __init__(self, first, second, third): ...",
            "",
        ),
        ("class Public:\n    def __init__(self, first, second, third): ...", "first, second, third"),
        (
            f"class Base:\n  def work(self, first, second, third):\n    {SAID}\n"
            "class Middle(Base): ...\nclass Last(room.Middle[int]):\n  def work(self, first, second, third): ...",
            "",
        ),
        (
            f"class Base:\n  def other(self, first, second, third):\n    {SAID}\n"
            "class Last(Base):\n  def work(self, first, second, third): ...",
            "first, second, third",
        ),
        (
            f"def other(first, second, third):\n    {SAID}\n"
            "def work(first, second, third):\n    'Arguments as for `other`.'",
            "",
        ),
        ("def work(first, second, third):\n    'Arguments as for `other`.'", "first, second, third"),
        (
            "Third = Annotated[int, typer.Option(help='A number.')]\n"
            "def work(first: Annotated[int, typer.Argument(help='It.')], second: int, third: Third): ...",
            "second",
        ),
    ],
)
def test_what_is_missing_is_named(text: str, missing: str) -> None:
    sources = Sources()
    sources.read("file.py", text)
    found = [problem.partition(" what ")[2].removesuffix(" means") for problem in sources.problems()]
    assert found == ([missing] if missing else [])


def test_an_explanation_of_nothing_is_named() -> None:
    sources = Sources()
    sources.read("file.py", f"\ndef work(first, second):\n    {SAID}")
    assert list(sources.problems()) == ["file.py:2: work has no parameter third"]
