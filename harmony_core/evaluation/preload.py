"""What a warm worker has imported before its first candidate; the forkserver imports this module once.

Nothing here may run work on several threads, touch a GPU or start torch.distributed: a fork
after any of these hangs.
"""

from __future__ import annotations

import atexit
import gc

# numpy.unique imports it lazily, and every batch calls that.
import torch

# A child imports its parent's main module again, which is the command line; that imports no command before it runs.
import harmony_core.cli.main
import harmony_core.evaluation.latency
import harmony_core.evaluation.mad_run_task
import harmony_core.evaluation.mad_task
import harmony_core.evaluation.training_task
import harmony_core.search.config
import harmony_core.store
import harmony_core.training.trainer
import harmony_core.workers.pool  # noqa: F401
from harmony_core.models.kernels import preload
from harmony_core.training.device import uses_gpu

torch.set_num_threads(1)
if uses_gpu():
    preload()
# The first optimiser of a process imports torch._dynamo, which costs as much as torch itself.
torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])


def freeze() -> None:
    """Keeps what is imported by now from children's garbage collectors, which would walk it and copy its pages."""
    gc.collect()
    gc.freeze()


freeze()
# Where something is frozen when the forkserver ends, Triton's binding counts it as leaked, in dozens of lines.
atexit.register(gc.unfreeze)
