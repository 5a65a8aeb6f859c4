"""What is told of a candidate in one number, each declared once; importing this fills the registry. No torch."""

import importlib
import pkgutil

from harmony_core.metrics.measured import LATENCY, LOSS
from harmony_core.metrics.metric import METRICS, Metric, is_metric, metric, register, shown, sign, static_metrics

__all__ = ["LATENCY", "LOSS", "METRICS", "Metric", "is_metric", "metric", "register", "shown", "sign", "static_metrics"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

# Metrics of other distributions are not among them; they are registered later.
OWN = frozenset(METRICS)
