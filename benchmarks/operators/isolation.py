"""A process of its own for each measurement: fresh memory, and a crash costs one row."""

from __future__ import annotations

import functools
import gc
import multiprocessing
import os
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.context import BaseContext
from typing import Any, ParamSpec

from benchmarks.operators.families import FAMILIES

_P = ParamSpec("_P")
# Libraries that would otherwise start threads of their own or ask a network.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
PRELOADED = [
    "benchmarks.operators.pair",
    "harmony_core.interop.hf",
    *(f"transformers.models.{family}.modeling_{family}" for family in FAMILIES),
]


@functools.cache
def _context() -> BaseContext:
    """Forks of a server that has imported everything and computed nothing."""
    os.environ.update(ENVIRONMENT)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def fresh(measure: Callable[_P, dict[str, Any]], *args: _P.args, **kwargs: _P.kwargs) -> dict[str, Any]:
    """What `measure` returns in a new process with one thread; `{"error": ...}` where it fails or dies."""
    with ProcessPoolExecutor(1, mp_context=_context()) as pool:
        try:
            return pool.submit(_guarded, measure, args, kwargs).result()
        except BrokenProcessPool:
            return {"error": "the process died; standard error may say of what"}


def _guarded(measure: Callable[..., dict[str, Any]], args: Any, kwargs: Any) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    # What was imported stays: a collection between rounds need not look at it.
    gc.freeze()
    try:
        return measure(*args, **kwargs)
    except Exception as error:
        # Whatever it is, it is this row's result, and the other rows are still to be measured.
        traceback.print_exc(limit=-3)
        return {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
    finally:
        # Triton counts what is frozen at the end as leaked, and says so.
        gc.unfreeze()
