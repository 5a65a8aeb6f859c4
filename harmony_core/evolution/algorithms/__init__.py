"""The search algorithms, each in a file with its configuration; importing this fills the registry."""

import importlib
import pkgutil

from harmony_core.evolution.registry import ALGORITHMS, AlgorithmConfig, read_algorithm

__all__ = ["ALGORITHMS", "AlgorithmConfig", "read_algorithm"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
