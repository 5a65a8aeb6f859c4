"""The evaluators by name: those of HARMONY, which importing this registers, and those of distributions."""

from __future__ import annotations

import harmony_core.evaluation.evaluators  # noqa: F401
from harmony_core.errors import UserError
from harmony_core.evaluation.evaluator import EVALUATORS, Evaluator
from harmony_core.search.config import Config
from harmony_core.store.evaluators import DEFAULT, require_table


def find_evaluator(name: str) -> Evaluator:
    """An evaluator by name.

    Raises:
        UserError: no such evaluator is installed.
    """
    require_table(name)
    if name not in EVALUATORS:
        raise UserError("evaluators", name, "has a table, and nothing that fills it; mend what registers it")
    return EVALUATORS[name]


def evaluators_of(config: Config) -> list[Evaluator]:
    """The evaluators that a search runs, training first.

    Raises:
        UserError: one of them is not installed.
    """
    names = sorted(config.evaluators, key=lambda name: name != DEFAULT[0])
    return [find_evaluator(name) for name in names]
