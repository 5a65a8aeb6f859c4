"""A layout as people write it: `pp=2,dp=4,ep=2,zero=1,micro=4,checkpointing=true`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harmony_core.cli.items import settings
from harmony_core.errors import UserError

if TYPE_CHECKING:
    from harmony_core.machines import Layout

_SHORT = {"zero": "zero_stage", "micro": "micro_batch_size", "checkpointing": "activation_checkpointing"}


def layout_fields(text: str) -> dict[str, Any]:
    """Fields of `Layout` by their full names; empty text gives none."""
    given = settings("layout", [text] if text else ())
    return {_SHORT.get(name, name): value for name, value in given.items()}


def layout_text(layout: Layout) -> str:
    """The text that gives this layout again."""
    short = {full: name for name, full in _SHORT.items()}
    fields = layout.model_dump(exclude_defaults=True)
    return ",".join(f"{short.get(name, name)}={str(value).lower()}" for name, value in fields.items()) or "dp=1"


def trainable(layout: Layout) -> Layout:
    """The layout itself; UserError where only the planner knows it."""
    if layout.tp > 1:
        raise UserError("layout.tp", layout.tp, "the trainer splits no matrices; use 1")
    return layout
