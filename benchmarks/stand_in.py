"""Training that sleeps, and what the forked children of `benchmarks.utilisation` start with: nothing heavy."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

# What a child would import by itself: its own main function, and the modules of its parent's main module, the rank.
import harmony_core.workers.address
import harmony_core.workers.child
import harmony_core.workers.pool
import harmony_core.workers.task_queue  # noqa: F401

gc.collect()
gc.freeze()


def train(payload: dict[str, Any]) -> dict[str, Any]:
    """Sleeps for the payload's `seconds`; says in which rank and when, by the clock of the host that all nodes are."""
    began = time.time()
    time.sleep(payload["seconds"])
    return {"rank": int(os.environ["SLURM_PROCID"]), "began": began, "ended": time.time()}
