"""Every number of a configuration has bounds, and what is outside them, or is none, is refused in one line."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from harmony_core.base import Frozen
from harmony_core.errors import UserError
from harmony_core.search.config import Config
from harmony_core.space import Space

LOWER, UPPER = ("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")
SPACE = {
    "depth": {"min": 1, "max": 2},
    "d_model": [32],
    "blocks": {"mha": {"domains": {"num_heads": [2], "head_dim": [16]}}, "mlp": {"domains": {"d_ff": [64]}}},
}
ENTRIES = {"objectives": {"name": "num_params"}, "grow": {"params": 10**6}}
GRID = {"min": 8, "max": 16, "step": 8}

Path = tuple[str | int, ...]


def numbers(schema: dict[str, Any], root: dict[str, Any], path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Every number of a JSON schema, with where it stands."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].rpartition("/")[2]]
    if schema.get("type") in ("integer", "number"):
        yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from numbers(inner, root, (*path, name))
    for inner in schema.get("anyOf", []):
        yield from numbers(inner, root, path)
    if isinstance(schema.get("items"), dict):
        yield from numbers(schema["items"], root, (*path, 0))
    if isinstance(schema.get("additionalProperties"), dict):
        yield from numbers(schema["additionalProperties"], root, (*path, "mha"))


def fields(cls: type[Frozen]) -> list[tuple[type[Frozen], Path, dict[str, Any]]]:
    schema = cls.model_json_schema()
    return [(cls, path, found) for path, found in numbers(schema, schema)]


def name(value: Any) -> str:
    return ".".join(map(str, value)) if isinstance(value, tuple) else getattr(value, "__name__", "")


FIELDS = fields(Config) + fields(Space)
each_number = pytest.mark.parametrize(("cls", "path", "schema"), FIELDS, ids=name)


def test_the_walk_finds_the_numbers() -> None:
    found = {path for _, path, _ in FIELDS}
    assert {("search", "seed"), ("search", "objectives", 0, "target"), ("execution", "layout", "dp")} <= found
    assert {
        ("depth", "min"),
        ("d_model", 0),
        ("blocks", "mha", "weight"),
        ("constraints", "count", "mha", "max"),
    } <= found
    assert len(FIELDS) > 60


@each_number
def test_a_number_has_a_lower_and_an_upper_bound(cls: type[Frozen], path: Path, schema: dict[str, Any]) -> None:
    assert any(key in schema for key in LOWER), f"give {name(path)} a lower bound, and say why"
    assert any(key in schema for key in UPPER), (
        f"give {name(path)} an upper bound (harmony_core/bounds.py), and say why"
    )


@each_number
def test_what_is_no_number_within_its_bounds_is_refused(cls: type[Frozen], path: Path, schema: dict[str, Any]) -> None:
    low = next(schema[key] for key in LOWER if key in schema)
    high = next(schema[key] for key in UPPER if key in schema)
    outside = [low - 1, high * 2 + 1, -(10**26), 10**26, 1e30, -1e30]
    for value in (True, False, math.nan, math.inf, -math.inf, "many", [], {}, *outside):
        (first, *_) = cls.mistakes(holding(cls, path, value), "mine.yaml")
        where = [str(part) for part in path]
        # A truth in a list is told of the list.
        assert first.field in ("mine.yaml." + ".".join(where), "mine.yaml." + ".".join(where[:-1])), first
        line = str(first)
        assert "\n" not in line
        assert first.fix in line


@each_number
def test_the_bounds_themselves_are_numbers_of_the_field(cls: type[Frozen], path: Path, schema: dict[str, Any]) -> None:
    """A bound that no value meets, or that only the other type has, would refuse everything."""
    for key in ("minimum", "maximum"):
        if key in schema:
            told = cls.mistakes(holding(cls, path, schema[key]), "")
            assert name(path) not in [one.field for one in told if "less than or equal" in one.fix]
            assert name(path) not in [one.field for one in told if "greater than or equal" in one.fix]


def holding(cls: type[Frozen], path: Path, value: Any) -> dict[str, Any]:
    """A valid tree of `cls` with the value at a path."""
    tree: Any = value
    for index in reversed(range(len(path))):
        key, inner = path[index], path[index - 1] if index else ""
        # An entry of a list of sections has what is required beside the number, and so has a grid of widths.
        beside = ENTRIES[path[index - 2]] if inner == 0 else GRID if path[index - 2 : index - 1] == ("domains",) else {}
        tree = [tree] if isinstance(key, int) else {**beside, key: tree}
    return merged(SPACE, tree) if cls is Space else tree


def merged(base: Any, top: Any) -> Any:
    if isinstance(base, dict) and isinstance(top, dict):
        return {key: merged(base.get(key), top[key]) if key in top else base[key] for key in base | top}
    return top


@pytest.mark.parametrize(
    "data",
    [
        {"search": {"generations": True}},
        {"search": {"seed": 10**26}},
        {"recipe": {"tokens": 10**23}},
        {"recipe": {"learning_rate": 1e30}},
        {"execution": {"workers": 1_000_000}},
        {"promote": {"top_k": 100_000}},
        {"search": {"population": 16, "algorithm": {"survivors": 17}}},
        {"recipe": {"warmup_tokens": 1_800_000, "decay_fraction": 0.5}},
    ],
    ids=str,
)
def test_what_was_once_accepted_though_absurd(data: dict[str, Any]) -> None:
    (section,) = data
    with pytest.raises(UserError) as caught:
        Config.parse(data)
    assert caught.value.field.startswith(f"{section}.")


def test_a_lineage_may_be_longer_than_a_population_where_age_decides() -> None:
    algorithm = {"kind": "regularized_evolution", "survivors": 48}
    assert Config.parse({"search": {"population": 12, "algorithm": algorithm}}).search.algorithm.survivors == 48
