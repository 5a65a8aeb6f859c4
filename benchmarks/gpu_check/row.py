"""One measurement's row: its figures, or why there are none. Imports no torch."""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable
from typing import Any, ParamSpec

from benchmarks.gpu_check.settings import Row

_P = ParamSpec("_P")


def attempted(identity: Row, measure: Callable[_P, Row], *args: _P.args, **kwargs: _P.kwargs) -> Row:
    """What was to be measured, with what `measure` found or the error that came instead."""
    try:
        return {**identity, **measure(*args, **kwargs)}
    except Exception as error:
        # Whatever it is, it is this row's result, and the others are still to be measured.
        traceback.print_exc(limit=-3)
        return {**identity, "error": said(error)}


def said(error: BaseException) -> str:
    """An exception in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


def plain(value: Any) -> Any:
    """A value as JSON has it: numbers that are not finite become words, since JSON has none."""
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def tell(line: str) -> None:
    """Says what is happening; standard output is a pipe on most clusters, which would keep it back."""
    print(line, file=sys.stdout, flush=True)
