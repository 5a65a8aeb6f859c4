"""`harmony` with a trainer that does, on rank 1 in its fourth step, what the first argument says."""

from __future__ import annotations

import os
import sys
import threading
from typing import Any

from harmony_core.cli.main import main
from harmony_core.training.learner import Learner

STEP = Learner.step
how = sys.argv.pop(1)
steps = 0


def erring(self: Learner, *arguments: Any) -> Any:
    global steps
    steps += 1
    if steps == 4 and os.environ["RANK"] == "1":
        if how == "memory":
            raise RuntimeError("out of memory")
        threading.Event().wait()
    return STEP(self, *arguments)


Learner.step = erring  # type: ignore[method-assign]
main()
