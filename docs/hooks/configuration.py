"""The page of the configuration, from its classes: types, bounds, defaults and what their docstrings say."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import griffe
from pydantic import BaseModel

from harmony_core.architecture import block_class, block_kinds
from harmony_core.evolution.registry import ALGORITHMS
from harmony_core.metrics import METRICS
from harmony_core.search.config import Config
from harmony_core.search.objective import Objective
from harmony_core.space import Space
from harmony_core.space.block_space import BlockSpace
from harmony_core.space.constraints import Constraints
from harmony_core.space.limits import Depth

_HEAD = """# Configuration
A search is one YAML file. What it leaves out has the default that stands here; an unknown key is refused with the
nearest known one. `harmony config check FILE` tells every mistake of a file at once, `harmony config default` prints
all keys with their defaults, and `harmony config schema` prints a JSON schema for editors.

In an existing search some keys may still change: `search.generations` may rise, `promote` may grow, and `budget` and
`execution` (but for `candidates_per_job`) may change. Any other change is another search, and is refused.
"""
_SECTIONS = ("search", "data", "recipe", "latency", "execution", "promote", "budget", "mad")


def page() -> str:
    """Markdown: a section a part of the tree, a row a key."""
    logging.getLogger("griffe").setLevel(logging.ERROR)
    parts = [_HEAD, _section("(top level)", Config, skip=_SECTIONS)]
    for name in _SECTIONS:
        model = Config.model_fields[name].annotation
        parts += [_section(path, one) for path, one in _models(name, model)]
        if name == "search":
            parts += [_section("search.objectives", Objective), _metrics(), *_algorithms()]
    parts.append("## A space\nA YAML file of its own, named by `space`.\n")
    parts += [_section("space", Space), _section("space.depth", Depth)]
    parts += [_section("space.blocks.KIND", BlockSpace), _section("space.constraints", Constraints)]
    return "\n".join(parts)


_BLOCKS = """# Blocks
The kinds of block that an architecture may be made of, and the fields of each, as an architecture's YAML has them. A
space lists choices for them under `space.blocks.KIND.domains`. [Operators](../operators.md) says what each kind
computes and what it is compared with.
"""


def blocks_page() -> str:
    """Markdown: a section a kind of block, a row a field."""
    sections = (_section(kind, block_class(kind), skip=("kind",)) for kind in sorted(block_kinds()))
    return "\n".join([_BLOCKS, *(section.removeprefix("#") for section in sections)])


def _models(path: str, model: Any) -> Iterator[tuple[str, type[BaseModel]]]:
    """The model and those among its fields, each under its place in the tree."""
    yield path, model
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel) and name != "algorithm":
            yield from _models(f"{path}.{name}", kind)


def _section(path: str, model: type[BaseModel], skip: tuple[str, ...] = ()) -> str:
    summary, told = _docstring(model)
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    lines = [f"### `{path}`" if path != "(top level)" else "## A search", summary, ""]
    rows = []
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        about = schema["properties"].get(field.alias or name, {})
        default = "required" if name in required else _default(field.get_default(call_default_factory=True))
        meaning = field.description or told.get(name, "")
        rows.append(
            "| " + " | ".join(_cell(one) for one in (f"`{name}`", _kind(about, schema), default, meaning)) + " |"
        )
    if rows:
        lines += ["| key | value | default | meaning |", "|---|---|---|---|", *rows]
    return "\n".join([*lines, ""])


def _metrics() -> str:
    rows = [f"| `{one.name}` | {one.unit} | {_cell(one.description)} |" for one in METRICS.values()]
    head = "Any of these can be an objective, and every one of an architecture's own can bound a space.\n"
    return "\n".join(["### Metrics", head, "| name | unit | meaning |", "|---|---|---|", *rows, ""])


def _algorithms() -> Iterator[str]:
    for kind, model in ALGORITHMS.items():
        yield _section(f"search.algorithm, kind: {kind}", model, skip=("kind",))


def _docstring(model: type[BaseModel]) -> tuple[str, dict[str, str]]:
    """What a class's docstring says of it, and what its `Args:`, and those of its bases, say of the fields."""
    summary, told = "", dict[str, str]()
    for one in reversed(model.__mro__):
        if one.__module__.startswith("harmony_core") and one.__doc__:
            for part in griffe.Docstring(one.__doc__).parse("google", warnings=False):
                if part.kind is griffe.DocstringSectionKind.parameters:
                    told |= {entry.name: " ".join(entry.description.split()) for entry in part.value}
                elif part.kind is griffe.DocstringSectionKind.text and one is model:
                    summary = " ".join(part.value.split())
    return summary, told


def _kind(about: dict[str, Any], schema: dict[str, Any]) -> str:
    """What a value may be, in words, by its JSON schema."""
    if "$ref" in about:
        about = schema["$defs"][about["$ref"].rpartition("/")[2]]
        if about.get("type") == "object":
            return "mapping, below"
    if "const" in about or "enum" in about:
        values = about.get("enum", [about.get("const")])
        return ", ".join(f"`{value}`" for value in values) if len(values) <= 8 else "a name, below"
    for several in ("anyOf", "oneOf"):
        if several in about:
            return " or ".join(dict.fromkeys(_kind(one, schema) for one in about[several]))
    kind = about.get("type", "any")
    if kind == "array":
        inner = about.get("items") or next(iter(about.get("prefixItems", [])), {})
        return f"list of {_kind(inner, schema)}"
    word = {"string": "text", "object": "mapping", "null": "null", "boolean": "true or false"}.get(kind, kind)
    return word + _bounds(about)


def _bounds(about: dict[str, Any]) -> str:
    low, high = about.get("minimum"), about.get("maximum")
    above, below = about.get("exclusiveMinimum"), about.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f", {_number(low)} to {_number(high)}"
    bounds = ((">", above), ("≥", low), ("<", below), ("≤", high))
    parts = [f"{sign} {_number(one)}" for sign, one in bounds if one is not None]
    return f" {', '.join(parts)}" if parts else ""


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e9 else f"{value:.3g}"


def _default(value: Any) -> str:
    if isinstance(value, BaseModel):
        return f"`{value.kind}`" if hasattr(value, "kind") else ""
    if isinstance(value, tuple) and any(isinstance(one, BaseModel) for one in value):
        return ", ".join(f"`{getattr(one, 'name', one)}`" for one in value)
    return f"`{json.dumps(value)}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
