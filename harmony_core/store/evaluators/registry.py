"""The evaluators' tables by name."""

from __future__ import annotations

import re

from harmony_core.errors import UserError
from harmony_core.plugins import find
from harmony_core.store.evaluators.table import EvaluatorTable, Settings
from harmony_core.store.schemas import POPULATION

# A configuration without `evaluators` runs these and no others.
DEFAULT = ("training", "latency")

# Other folders and logs in a search's work/, and other stages of the ledger, have these names.
_RESERVED = {
    "logs", "ranks", "settle", "teams", "train", "mutate", "select", "promote", "report",
    "preset", "sample", "mutation", "crossover", "propose",
}  # fmt: skip

TABLES: dict[str, EvaluatorTable] = {}


def register(table: EvaluatorTable) -> EvaluatorTable:
    """Makes a table known under its name.

    Raises:
        ValueError: the name, or that of a table beside it or of a metric, is taken, or is none for a folder and a rule.
    """
    for name in table.schemas:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in _RESERVED:
            raise ValueError(f"evaluator {table.name!r}: a table cannot be called {name!r}")
    tables = {name for one in TABLES.values() for name in one.schemas}
    metrics = {name for one in TABLES.values() for name in one.metrics} | set(POPULATION.names)
    if twice := sorted((tables & table.schemas.keys()) | (metrics & set(table.metrics))):
        raise ValueError(f"evaluator {table.name!r}: {twice[0]!r} is registered twice")
    TABLES[table.name] = table
    return table


def tables() -> list[EvaluatorTable]:
    """The tables that are known by now, training first."""
    return sorted(TABLES.values(), key=lambda table: table.name != DEFAULT[0])


def tables_of(settings: Settings) -> list[EvaluatorTable]:
    """The tables that a search has, training first; an evaluator that is not installed has none."""
    names = sorted(settings.get("evaluators", DEFAULT), key=lambda name: name != DEFAULT[0])
    return [table for table in map(find_table, names) if table is not None]


def viewed_tables(settings: Settings) -> list[EvaluatorTable]:
    """Those of which the measured view has columns: HARMONY's own, null where they are not run, and the search's."""
    return list(dict.fromkeys([*map(require_table, DEFAULT), *tables_of(settings)]))


def decisive_tables(settings: Settings) -> list[EvaluatorTable]:
    """Those of which a candidate must have a result: training, and where an objective is measured."""
    objectives = {objective["name"] for objective in settings["search"]["objectives"]}
    return [one for one in tables_of(settings) if one.name == DEFAULT[0] or objectives & set(one.metrics)]


def require_table(name: str) -> EvaluatorTable:
    """An evaluator's table; UserError where no such evaluator is installed."""
    table = find_table(name)
    if table is None:
        raise UserError("evaluators", name, f"not installed; there are {', '.join(one.name for one in tables())}")
    return table


def find_table(name: str) -> EvaluatorTable | None:
    """The table of an evaluator, HARMONY's own or of a distribution that is installed; None where there is none.

    Raises:
        UserError: that distribution cannot be imported.
    """
    return find("evaluators", name, TABLES)
