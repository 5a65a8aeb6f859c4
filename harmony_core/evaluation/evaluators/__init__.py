"""The evaluators, one a file; importing this fills the registry."""

import importlib
import pkgutil

from harmony_core.evaluation.evaluators.latency import Latency
from harmony_core.evaluation.evaluators.training import Training

__all__ = ["Latency", "Training"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
