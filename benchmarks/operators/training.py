"""Forward and backward tokens a second beside the peer."""

from __future__ import annotations

from typing import Any

from benchmarks.operators.pair import agreement, batch, both, training_step
from benchmarks.operators.settings import TRAINING_PROMISES, Setting
from benchmarks.operators.timing import interleaved, speeds, timed
from harmony_core.models import keep_freed_memory


def measure(family: str, setting: Setting, attention: str, rounds: int) -> dict[str, Any]:
    """Both sides in turns, after their losses were found equal; to be run in a process of its own."""
    # For both sides: what is compared is operators, not allocators.
    keep_freed_memory()
    models = both(family, setting, attention)
    data = batch(setting.batch_size, setting.sequence_length)
    found = agreement(models, data)
    seconds = interleaved({name: timed(training_step(name, model, data)) for name, model in models.items()}, rounds)
    return {**speeds(seconds, setting.tokens, TRAINING_PROMISES.get(family)), **found}
