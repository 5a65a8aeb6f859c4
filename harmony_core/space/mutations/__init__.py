"""Mutation operators, one a file; importing this fills the registry."""

import importlib
import pkgutil

from harmony_core.space.mutations.registry import MUTATIONS, Mutation, find_mutation

__all__ = ["MUTATIONS", "OWN", "Mutation", "find_mutation"]

# Modules come in the order of their names, which random draws depend on.
for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")

# Every space draws these; those of other distributions are drawn where a space asks for them.
OWN = tuple(MUTATIONS)
