"""What a checkpoint says of the training that wrote it, held against the one that wants to go on."""

from __future__ import annotations

import json
from typing import Any

from harmony_core.base import canonical_json
from harmony_core.errors import UserError

_MISSING = "missing"


def check_same(facts: dict[str, Any], expected: dict[str, Any]) -> None:
    """Refuses a checkpoint of another training; nothing needs to be allocated for it.

    Args:
        facts: of the checkpoint; what is not in `expected` is not compared.
        expected: what this training needs them to be, any JSON; mappings within are compared key by key.

    Raises:
        UserError: the first field that differs, its value in the checkpoint and the expected one.
    """
    wanted = as_json(expected)
    for name, value in wanted.items():
        _check_field(f"checkpoint.{name}", facts.get(name, _MISSING), value)


def as_json(value: dict[str, Any]) -> dict[str, Any]:
    """A copy of `value` as it would come back from a file (tuples as lists, keys as text).

    Raises:
        ValueError: a number in it is not finite.
        TypeError: something in it is no JSON.
    """
    copy: dict[str, Any] = json.loads(canonical_json(value))
    return copy


def _check_field(field: str, value: Any, expected: Any) -> None:
    if isinstance(value, dict) and isinstance(expected, dict):
        for name in expected | value:
            _check_field(f"{field}.{name}", value.get(name, _MISSING), expected.get(name, _MISSING))
    elif value != expected:
        raise UserError(field, value, f"this training has {expected}; resume it from a checkpoint of its own")
