"""HARMONY: a search for efficient hybrid language models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harmony_core.api import OpenSearch, SearchFailed, open_search
    from harmony_core.api import run_search as search
    from harmony_core.architecture import Architecture
    from harmony_core.errors import UserError

__all__ = ["Architecture", "OpenSearch", "SearchFailed", "UserError", "open_search", "search"]
__version__ = "0.1.0"

_ROOMS = {
    "Architecture": "architecture",
    "OpenSearch": "api",
    "SearchFailed": "api",
    "UserError": "errors",
    "open_search": "api",
}


def __getattr__(name: str) -> Any:
    # Imported only when it is asked for: every rank of an allocation imports this package, and needs no pydantic.
    if name == "search":
        # The room of this name, which can be called.
        return import_module(f"{__name__}.search")
    if name in _ROOMS:
        return getattr(import_module(f"{__name__}.{_ROOMS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
