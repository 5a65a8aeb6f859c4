"""Files that are generated from the configuration's classes are in step with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harmony_core.cli.config import default_yaml
from harmony_core.search.config import Config

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
