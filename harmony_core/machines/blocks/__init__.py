"""What each kind of block costs, a file a kind; importing this makes them all known."""

import importlib
import pkgutil

from harmony_core.machines.blocks.costs import (
    NORM_KERNELS,
    BlockCosts,
    KeptMemory,
    Shape,
    Traffic,
    Work,
    costs_of,
    num_norms,
    prices,
)

__all__ = ["NORM_KERNELS", "BlockCosts", "KeptMemory", "Shape", "Traffic", "Work", "costs_of", "num_norms", "prices"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
