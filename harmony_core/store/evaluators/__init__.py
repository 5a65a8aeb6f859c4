"""What each evaluator writes, one table a file; importing this fills the registry."""

import importlib
import pkgutil

from harmony_core.store.evaluators.latency import LATENCY_TABLE
from harmony_core.store.evaluators.registry import (
    DEFAULT,
    TABLES,
    decisive_tables,
    find_table,
    register,
    require_table,
    tables,
    tables_of,
    viewed_tables,
)
from harmony_core.store.evaluators.table import KEY, EvaluatorTable, Row, Settings
from harmony_core.store.evaluators.training import TRAINING_TABLE, best_runs

__all__ = [
    "DEFAULT",
    "KEY",
    "LATENCY_TABLE",
    "TABLES",
    "TRAINING_TABLE",
    "EvaluatorTable",
    "Row",
    "Settings",
    "best_runs",
    "decisive_tables",
    "find_table",
    "register",
    "require_table",
    "tables",
    "tables_of",
    "viewed_tables",
]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
