"""A block's hyper-parameters by name, those of a block within it too: `ssm.d_state` is `d_state` of its field `ssm`."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from operator import attrgetter
from typing import Any, TypeVar

from pydantic.fields import FieldInfo

from harmony_core.architecture import Block

T = TypeVar("T")


def fields(cls: type[Block]) -> dict[str, FieldInfo]:
    """What a class of blocks declares of each."""
    found: dict[str, FieldInfo] = {}
    for name, field in cls.model_fields.items():
        inner = _block_of(field)
        found |= {name: field} if inner is None else _within(name, fields(inner))
    return found


def values(block: Block) -> dict[str, Any]:
    """The value of each, in the order of `fields`."""
    held = _holding_blocks(type(block))
    if not held:
        return dict(block)
    found: dict[str, Any] = {}
    for name, one in block:
        found |= _within(name, values(one)) if name in held else {name: one}
    return found


def value(block: Block, name: str) -> Any:
    """The value of one."""
    return attrgetter(name)(block)


def shape(block: Block) -> tuple[object, ...]:
    """The kind and every value but that of the block's width."""
    return (block.kind, *_all_but_width(type(block))(block))


def make(cls: type[Block], chosen: Mapping[str, Any]) -> Block:
    """The block with these values, the others at their defaults.

    Raises:
        ValidationError: they do not go together.
    """
    return cls.model_validate(_nested(chosen))


def changed(block: Block, name: str, new: Any) -> Block:
    """The block with another value of one hyper-parameter, not validated.

    Args:
        block: is not changed.
        name: the field's; `.` leads to a field within.
        new: its value in the result.
    """
    outer, _, inner = name.partition(".")
    return block.model_copy(update={outer: changed(getattr(block, outer), inner, new) if inner else new})


def _within(name: str, inner: Mapping[str, T]) -> dict[str, T]:
    """Those of a block within. Where its norm stands is the outer block's to say."""
    return {f"{name}.{own}": one for own, one in inner.items() if own != "norm_position"}


def _nested(chosen: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, one in chosen.items():
        outer, _, inner = name.partition(".")
        if inner:
            found.setdefault(outer, {})[inner] = one
        else:
            found[outer] = one
    return {name: _nested(one) if isinstance(one, dict) else one for name, one in found.items()}


@functools.cache
def _all_but_width(cls: type[Block]) -> Callable[[Block], tuple[object, ...]]:
    names = [name for name in fields(cls) if name != cls.width_field]
    if len(names) > 1:
        return attrgetter(*names)
    return lambda block: tuple(getattr(block, name) for name in names)


@functools.cache
def _holding_blocks(cls: type[Block]) -> frozenset[str]:
    return frozenset(name for name, field in cls.model_fields.items() if _block_of(field) is not None)


def _block_of(field: FieldInfo) -> type[Block] | None:
    """The class of the block that a field holds, if it holds one."""
    held = field.annotation
    return held if isinstance(held, type) and issubclass(held, Block) else None
