"""From a block's kind to the module that computes it."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeVar

from harmony_core.architecture import Block, block_class
from harmony_core.models.block import BlockModule

_M = TypeVar("_M", bound=type[BlockModule])
_MODULES: dict[str, Callable[[Any, int, float], BlockModule]] = {}


def implements(*kinds: str) -> Callable[[_M], _M]:
    """Registers a module class, built as `cls(config, d_model, norm_epsilon)`, for kinds that architecture/ knows."""

    def add(cls: _M) -> _M:
        for kind in kinds:
            block_class(kind)
            if kind in _MODULES:
                raise ValueError(f"kind {kind!r} has two modules")
            _MODULES[kind] = cls
        return cls

    return add


def module_for(block: Block, d_model: int, norm_epsilon: float) -> BlockModule:
    """The unfilled module of a block.

    Args:
        block: its configuration.
        d_model: width of the residual stream.
        norm_epsilon: of the RMSNorms within it.
    """
    if block.kind not in _MODULES and block.implementation is not None:
        importlib.import_module(block.implementation)
    return _MODULES[block.kind](block, d_model, norm_epsilon)


def implemented_kinds() -> list[str]:
    """Kinds that have a module, in order of registration."""
    return list(_MODULES)
