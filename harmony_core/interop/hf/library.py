"""The optional dependency."""

from __future__ import annotations

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
