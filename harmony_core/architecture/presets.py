"""The known models in `resources/architectures`: at full size, and as `*-nano` of equal budget."""

from __future__ import annotations

from pathlib import Path

from harmony_core.architecture.architecture import Architecture
from harmony_core.resources import named_yaml, resource_names


def preset_names() -> list[str]:
    """Names that `load_preset` knows, sorted."""
    return resource_names("architectures")


def load_preset(name: str | Path) -> Architecture:
    """The architecture of a preset's name, or of a YAML file's path; `UserError` for an unknown one."""
    return Architecture.from_yaml(named_yaml("architectures", name))


def with_vocab(architecture: Architecture, vocab_size: int) -> Architecture:
    """The same blocks over another tokenizer's vocabulary."""
    return architecture.replace(vocab_size=vocab_size)
