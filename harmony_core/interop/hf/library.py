"""The optional dependency."""

from __future__ import annotations

import dataclasses
import functools
from types import ModuleType

from harmony_core.errors import UserError


def transformers() -> ModuleType:
    """The package, or a `UserError` that says how to get it."""
    try:
        import transformers as package
    except ImportError as error:
        fix = "install it with pip install 'harmony-search[hf]'"
        raise UserError("transformers", f"cannot be imported ({error})", fix) from None
    return package  # type: ignore[no-any-return]


@functools.cache
def declared_fields(model_type: str) -> frozenset[str] | None:
    """Fields that the installed class of configuration has, whose model can read no others; None without a class."""
    mapping = transformers().CONFIG_MAPPING
    if model_type not in mapping:
        return None
    found = mapping[model_type]
    return frozenset({field.name for field in dataclasses.fields(found)} | found().to_dict().keys())
