"""A block's hyper-parameters by name, those of a block within it too: `ssm.d_state` is `d_state` of its field `ssm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from harmony_core.architecture import Block


def fields(cls: type[Block]) -> dict[str, FieldInfo]:
    """What a class of blocks declares of each."""
    found = {}
    for name, field in cls.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Block):
            found |= {f"{name}.{own}": info for own, info in fields(inner).items()}
        else:
            found[name] = field
    return found


def values(block: Block) -> dict[str, Any]:
    """The value of each, in the order of `fields`."""
    found = {}
    for name, value in block:
        if isinstance(value, Block):
            found |= {f"{name}.{own}": inner for own, inner in values(value).items()}
        else:
            found[name] = value
    return found


def value(block: Block, name: str) -> Any:
    """The value of one."""
    outer, _, inner = name.partition(".")
    found = getattr(block, outer)
    return value(found, inner) if inner else found


def make(cls: type[Block], chosen: Mapping[str, Any]) -> Block:
    """The block with these values, the others at their defaults.

    Raises:
        ValidationError: they do not go together.
    """
    return cls.model_validate(_nested(chosen))


def changed(block: Block, name: str, new: Any) -> Block:
    """The block with another value of one, not validated."""
    outer, _, inner = name.partition(".")
    return block.model_copy(update={outer: changed(getattr(block, outer), inner, new) if inner else new})


def _nested(chosen: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in chosen.items():
        outer, _, inner = name.partition(".")
        if inner:
            found.setdefault(outer, {})[inner] = one
        else:
            found[outer] = one
    return {name: _nested(one) if isinstance(one, dict) else one for name, one in found.items()}
