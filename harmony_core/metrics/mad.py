"""Scores of quick MAD (`harmony_core.mad`): how soon a candidate learns each synthetic task."""

from __future__ import annotations

from harmony_core.metrics.metric import Metric, register
from harmony_core.metrics.reference import of_losses

_TASKS = {
    "in_context_recall": "in-context recall",
    "fuzzy_recall": "fuzzy recall",
    "noisy_recall": "noisy recall",
    "selective_copying": "selective copying",
    "compression": "compression",
    "memorisation": "memorisation",
}
_AREA = "area under accuracy over log steps"


def _score(name: str, label: str, description: str) -> str:
    declared = Metric(
        name,
        unit="1",
        label=label,
        description=description,
        source="mad",
        direction="maximise",
        format="decimal",
        reference=of_losses,
    )
    return register(declared).name


MAD_SCORE = _score("mad_score", "MAD score", "weighted mean of the tasks' scores; null if one failed")
# By task.
MAD_TASKS = {
    task: _score(f"mad_{task}", label, f"{label}: {_AREA}; null if failed or not among the search's tasks")
    for task, label in _TASKS.items()
}
