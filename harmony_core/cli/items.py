"""Settings on a command line: `pp=2,dp=4`, or a configuration file whose section is meant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from harmony_core.base import read_yaml
from harmony_core.errors import UserError

# A comma inside of `paths=[a,b]` does not separate items.
_NEXT = re.compile(r",(?=[A-Za-z_]+=|[^=,\[\]]+\.ya?ml(?:,|$))")


def settings(option: str, texts: Sequence[str], section: str = "") -> dict[str, Any]:
    """What an option says, later items over earlier ones.

    Args:
        option: its name, for messages.
        texts: each a list of `name=value` and, where there is a `section`, files with a comma between.
        section: of a configuration file that is named.

    Raises:
        UserError: an item is neither, or a file has no such section.
    """
    found: dict[str, Any] = {}
    for item in (item for text in texts for item in _NEXT.split(text)):
        name, equals, value = item.partition("=")
        if equals:
            found[name.strip()] = _value(option, item, value)
        elif section and item.endswith((".yaml", ".yml")):
            found |= _section(item, section)
        else:
            also = " or a YAML file" if section else ""
            raise UserError(option, item, f"write name=value{also}, with commas between")
    return found


def _value(option: str, item: str, text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UserError(option, item, "the value is no number, word or [list]; correct it") from None


def _section(path: str, name: str) -> dict[str, Any]:
    content = read_yaml(path) or {}
    section = content.get(name, {}) if isinstance(content, Mapping) else None
    if not isinstance(section, Mapping):
        raise UserError(path, name, f"write `{name}:` and the settings below it")
    return dict(section)
