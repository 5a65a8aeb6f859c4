"""Files that are generated from the configuration's classes are in step with them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harmony_core.cli.config import default_yaml
from harmony_core.search.config import Config
from harmony_core.training.recipe import Recipe

ROOT = Path(__file__).parents[2]


def test_the_default_configuration_is_in_step() -> None:
    text = (ROOT / "config" / "default.yaml").read_text()
    assert text == default_yaml(), "run `harmony config default > config/default.yaml`"
    assert Config.parse(yaml.safe_load(text)) == Config()


def test_the_schema_is_in_step() -> None:
    text = (ROOT / "workflow" / "schemas" / "config.schema.json").read_text()
    # In a process of its own: other tests have registered metrics and algorithms of theirs by now.
    call = [sys.executable, "-m", "harmony_core", "config", "schema"]
    made = subprocess.run(call, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert text == made, "run `harmony config schema > workflow/schemas/config.schema.json`"


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_is_valid(path: Path) -> None:
    config = Config.from_yaml(path)
    config.check_names()
    assert isinstance(config.resolved().space, dict)


def test_every_key_of_the_schema_says_what_it_means() -> None:
    schema = json.loads((ROOT / "workflow" / "schemas" / "config.schema.json").read_text())
    described = dict(descriptions(schema, ""))
    assert [place for place, text in described.items() if not text] == []
    assert described["/$defs/Recipe/warmup_tokens"].startswith("tokens with a rising learning rate; None is 5%")
    assert described["/recipe"] == Recipe.__doc__.partition("\n")[0]


def descriptions(node: Any, place: str) -> Iterator[tuple[str, str]]:
    """Every key that a schema knows, and what it says of it."""
    if isinstance(node, list):
        for inner in node:
            yield from descriptions(inner, place)
    if isinstance(node, dict):
        for name, field in node.get("properties", {}).items():
            yield f"{place}/{name}", field.get("description", "")
        for name, inner in node.items():
            yield from descriptions(inner, place if name == "properties" else f"{place}/{name}")
