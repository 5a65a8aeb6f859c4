"""HARMONY: a search for efficient hybrid language models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmony_core.architecture import Architecture

__all__ = ["Architecture"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Imported only when it is asked for: every rank of an allocation imports this package, and needs no pydantic.
    if name == "Architecture":
        from harmony_core.architecture import Architecture

        return Architecture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
