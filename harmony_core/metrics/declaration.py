"""What a manifest says of metrics that are not HARMONY's own, so that they are shown where nothing adds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from harmony_core.metrics.metric import Metric, metric, recall

# These fields are recorded. Where a metric is read in a frame, and at what length it is computed, is of no use later.
_FIELDS = ("name", "unit", "label", "description", "direction", "format", "short", "whole")
_ARCHITECTURE = "an architecture"


def declarations(names: Iterable[str]) -> list[dict[str, Any]]:
    """Of metrics, as JSON takes them."""
    return [
        {**{field: getattr(one, field) for field in _FIELDS}, "source": _ARCHITECTURE if one.is_static else one.source}
        for one in map(metric, names)
    ]


def recall_all(declared: Iterable[Mapping[str, Any]]) -> None:
    """Makes known what nothing that is installed knows."""
    for one in declared:
        recall(Metric(**{field: one[field] for field in (*_FIELDS, "source")}))
