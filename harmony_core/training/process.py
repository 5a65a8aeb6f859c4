"""What this process runs on, how much it held, and whether it was too much."""

from __future__ import annotations

import resource
import sys

import torch

from harmony_core.training.device import uses_gpu


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception is the allocator's, on a CPU or a GPU."""
    text = str(error)
    # Words of torch's allocator, of C++'s own, and of oneDNN, which does not say why it could not make a primitive.
    said = ("can't allocate memory", "bad_alloc", "could not create a primitive", "out of memory")
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(words in text for words in said)


def peak_memory_bytes() -> int:
    """Peak memory of this process: resident on a CPU, allocated on a GPU."""
    if uses_gpu():
        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def device_name(device: torch.device) -> str:
    """The processor's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    from harmony_core.host import cpu_name

    return cpu_name()
