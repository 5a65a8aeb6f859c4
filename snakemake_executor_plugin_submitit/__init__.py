"""Snakemake executor plugin: jobs through submitit, as arrays of Slurm jobs or in a standing allocation.

Snakemake finds ``Executor``, ``ExecutorSettings`` and ``common_settings`` here. They are imported when asked for: a
scheduler's job imports this package for :mod:`.runner` alone, and starts without Snakemake's interface.
"""

from importlib import import_module

# This file and settings do without `from __future__ import annotations`: Snakemake reads the types of the settings'
# fields.

_HOMES = {"Executor": "executor", "ExecutorSettings": "settings", "common_settings": "settings"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
