"""Whatever stands in a configuration, it is read, or refused by a `UserError` of one line a mistake."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from harmony_core.base import read_yaml
from harmony_core.errors import UserError
from harmony_core.search.checking import located, read_checked
from harmony_core.search.config import Config

# A campaign sets it to many thousands.
EXAMPLES = int(os.environ.get("HARMONY_EXAMPLES", "100"))
several = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
)

ODD = [
    None, True, False, 0, -1, 1, 2, 10**400, -(10**26), 0.0, -0.0, float("nan"), float("inf"), 1e308, 5e-324, "", " ",
    "nan", "1e3", "1e400", "9" * 5000, "true", "\x00", "a\x00.yaml", "\n", "\ud800", "é" * 300, "../" * 200 + "a.yaml",
    "/dev/null", ".", ".yaml", "predicted:", "predicted:\x00", "predicted:" + "x" * 5000 + ".yaml", "nano", b"\xff",
]  # fmt: skip
scalars = st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=20) | st.dates() | st.binary(max_size=4)
# Keys that pydantic, YAML and our own paths of keys may stumble over.
keys = st.text(max_size=8) | st.sampled_from(
    ["", ".", "kind", "search", "self", "model_config", "__class__", "\n", 1, None, True]
)
rubbish = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4), max_leaves=12
)
DEFAULT = Config().model_dump(mode="json") | {
    "space": {
        "depth": {"min": 1, "max": 2},
        "d_model": [32],
        "blocks": {"mha": {"domains": {"num_heads": [2], "head_dim": [16]}}, "mlp": {"domains": {"d_ff": [64, 32]}}},
        "constraints": {"num_params": {"max": 1e6}, "count": {"mha": {"max": 3}}},
    }
}


def places(tree: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a tree of dicts and lists but its root."""
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [place for key, value in inner for place in ((*path, key), *places(value, (*path, key)))]


@st.composite
def spoilt(draw: st.DrawFn) -> dict[str, Any]:
    """The default configuration with rubbish at a few of its places."""
    tree = copy.deepcopy(DEFAULT)
    for _ in range(draw(st.integers(1, 3))):
        *path, last = draw(st.sampled_from(places(tree)))
        at = tree
        for key in path:
            at = at[key]
        if isinstance(at, dict) and draw(st.integers(0, 4)) == 0:
            last = draw(keys)
        at[last] = draw(rubbish)
    return tree


def check(told: UserError) -> None:
    for one in told.every:
        line = str(one)
        assert line
        assert line.isprintable()
        assert len(line) < 20_000
        assert one.fix


@several
@given(rubbish)
def test_any_value_is_read_or_refused(data: Any) -> None:
    try:
        Config.parse(data, "mine.yaml").hash  # noqa: B018
    except UserError as error:
        check(error)


@several
@given(spoilt())
def test_a_spoilt_configuration_is_read_or_refused(data: dict[str, Any]) -> None:
    try:
        config = Config.parse(data, "mine.yaml")
        config.hash  # noqa: B018
        config.check_names()
    except UserError as error:
        check(error)


@several
@given(spoilt())
def test_all_mistakes_are_found_by_the_check_that_one_is(tmp_path: Path, data: dict[str, Any]) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(yaml.dump(data, allow_unicode=True).encode(errors="surrogatepass"))
    first, every = refusal(Config.from_yaml, path), refusal(read_checked, path)
    if first is not None:
        assert every is not None
        check(every)
        check(located(every, path))
        assert str(first) in [str(one) for one in every.every]


def refusal(read: Callable[[Path], object], path: Path) -> UserError | None:
    try:
        read(path)
    except UserError as error:
        return error
    return None


# Lines that are YAML, or were meant to be.
LINES = [
    "search:", "search: {", "  seed: 1", "  name: x", "- a", "&a [*a]", "b: &b {c: *b}", "? {a: 1}", "<<: *a", "a: 1",
    "!!python/object:os.system x", "%YAML 9.9", "---", "...", "\t", "date: 2001-99-99", "n: " + "9" * 5000, "a: 2", "'",
    "n: 1:" + "60:" * 300 + "1", "[" * 3000, "{a: " * 1500, "\ufeff", "x: !!binary '\u00e9'", "x: !!int abc",
    "x: !!float abc", "x: !!timestamp abc", "x: !!set {a}", "x: !!omap [a]",
    "x: !!bool maybe", "x: !!int ''", "x: !!float ''", "!!pairs [a]",
    "? !!set {a}\n: 1", "!!timestamp 2001-01-01T99:99:99",
]  # fmt: skip
lines = st.lists(st.sampled_from(LINES) | st.text(max_size=30), max_size=8)


@several
@given(lines.map("\n".join).map(lambda text: text.encode(errors="surrogatepass")) | st.binary(max_size=60))
def test_any_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    try:
        read_checked(path)
    except UserError as error:
        check(error)
        # What is no YAML has no keys whose lines could be told, and is refused likewise.
        told = refusal(read_yaml, path) or located(error, path)
        check(told)


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "null\n"])
def test_a_file_of_nothing_is_all_defaults(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    assert Config.from_yaml(path) == Config()


@pytest.mark.parametrize("text", ["[]", "false", "0", "''", "- search", "text"])
def test_a_file_of_anything_but_sections_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"mine\.yaml: .*: use a mapping of keys"):
        Config.from_yaml(path)


def test_gigabytes_in_a_few_lines_are_told_in_one(tmp_path: Path) -> None:
    levels = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    path = tmp_path / "mine.yaml"
    path.write_text("\n".join(["a0: &a0 [x]", *levels]))
    assert read_yaml(path)["a11"]
    with pytest.raises(UserError) as caught:
        read_checked(path)
    check(caught.value)
