"""What of an architecture MAD trains: the stack as it is, or the paper's projection. No torch here."""

from __future__ import annotations

from harmony_core.architecture import Architecture
from harmony_core.architecture.presets import with_vocab
from harmony_core.mad import MadTask
from harmony_core.mad.config import MadConfig
from harmony_core.mad.iso_state import iso_state
from harmony_core.mad.projection import project


def what_is_trained(architecture: Architecture, config: MadConfig, task: MadTask) -> tuple[Architecture, str]:
    """The model of a task's vocabulary, and what the row says of it.

    Args:
        architecture: the candidate.
        config: says whether it is projected, and to equal state.
        task: has the vocabulary.

    Raises:
        UserError: it cannot be projected.
    """
    if config.trained == "stack":
        return with_vocab(architecture, task.vocab_size), f"the stack: {architecture.pattern()}"
    projection = project(architecture, task.vocab_size)
    if not config.iso_state:
        return projection.architecture, projection.told
    small, told = iso_state(projection.architecture)
    return small, f"{projection.told}; {told}"
