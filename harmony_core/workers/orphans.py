"""When the node of the batch process is lost: Slurm keeps the job, whose ranks have nobody to work for.

Allocations are asked for with `--no-kill`, so that a lost node costs its own teams only. For the batch process's
node that means a job that does nothing until its time limit; somebody who is left has to give it back. Where no rank
is left either, the executor does it at its next look at the queue.
"""

from __future__ import annotations

import os
import sys
import time

from harmony_core.slurm.job import is_lost, requeue_or_cancel

# Slurm itself needs SlurmdTimeout (300 s by default) to find that a node is down.
_PATIENCE_SECONDS = 900.0
_ASK_SECONDS = 5.0
# So many survive the loss of some, and do not burden the controller.
_NODES_THAT_ASK = 4


def gives_back(node_index: int, local: int) -> bool:
    """Whether this rank is among those that see to it."""
    return "SLURM_JOB_ID" in os.environ and local == 0 and node_index < _NODES_THAT_ASK


def give_back(batch_node: str) -> bool:
    """Waits until Slurm says that `batch_node` is down, and requeues this job; whether it came to that.

    While Slurm says nothing of the kind, the batch process may live and only be out of reach.
    """
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if is_lost(batch_node):
            job = os.environ["SLURM_JOB_ID"]
            print(f"{batch_node}, which ran the batch process, is down: requeueing job {job}", file=sys.stderr)
            requeue_or_cancel()
            return True
        time.sleep(_ASK_SECONDS)
    return False
