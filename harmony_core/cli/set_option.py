"""`--set search.generations=3`: values on a command line, in place of those in a configuration file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from harmony_core.errors import UserError

_NAME = re.compile(r"[A-Za-z_]\w+(\.\w+)*")


def changes(texts: Sequence[str]) -> dict[str, Any]:
    """The tree of sections that the options give, of two equal keys the last.

    Args:
        texts: each `SECTION.KEY=VALUE`, the value in YAML.

    Raises:
        UserError: an option is none of that.
    """
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, written = text.partition("=")
        if not equals or not _NAME.fullmatch(name):
            raise UserError("--set", text, "write SECTION.KEY=VALUE, as in search.generations=3")
        *sections, key = name.split(".")
        inner = found
        for section in sections:
            inner = inner.setdefault(section, {})
            if not isinstance(inner, dict):
                raise UserError("--set", text, f"{section} has a value already; set the one or the other")
        inner[key] = _value(text, written)
    return found


def _value(text: str, written: str) -> Any:
    try:
        value = yaml.safe_load(written)
    except (yaml.YAMLError, ValueError, RecursionError):
        raise UserError("--set", text, "the value is no YAML; put text with special characters in quotes") from None
    if value is None:
        # Snakemake would hand the word on.
        raise UserError("--set", text, "nothing cannot be set here; take the key out of the file instead")
    return value
