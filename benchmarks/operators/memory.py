"""Peak memory of a forward and backward pass, each side in a process of its own.

Published is the peak of the bytes that live tensors take, weights and gradients included, from every allocation and
release that `torch.profiler` saw. Beside it stands how far the process's resident memory rose, which also has what
libraries allocate for themselves (oneDNN's packed matrices) and what the profiler cannot see.
"""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable, Iterable
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from benchmarks.operators.pair import batch, side, training_step
from benchmarks.operators.settings import Setting

MIB = 1 << 20
# A first pass over this many tokens brings code and kernels in, whose pages are no one's tensors.
WARM_TOKENS = 16
# From <malloc.h>: blocks above this many bytes go back to the kernel as soon as they are freed.
_M_MMAP_THRESHOLD, _THRESHOLD_BYTES = -3, 64 << 10


def measure(name: str, family: str, setting: Setting, attention: str, method: str) -> dict[str, Any]:
    """MiB of one side at its peak, by `tensors` or by `resident`; to be run in a process of its own."""
    return_freed_memory()
    model = side(name, family, setting, attention)
    training_step(name, model, batch(1, WARM_TOKENS))()
    model.zero_grad(set_to_none=True)
    step = training_step(name, model, batch(setting.batch_size, setting.sequence_length))
    gc.collect()
    weights = tensor_bytes([*model.parameters(), *model.buffers()])
    rise = {"tensors": allocated_peak, "resident": resident_rise}[method](step)
    return {"weights_mib": round(weights / MIB, 2), "step_mib": round(rise / MIB, 2)}


def return_freed_memory() -> None:
    """Makes resident memory follow what is alive, on glibc."""
    ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)


def tensor_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """Bytes of the storages behind tensors, shared ones once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}
    return sum(storages.values())


def allocated_peak(run: Callable[[], object]) -> int:
    """Bytes that tensors took at the highest point during `run`, above those before it."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True, acc_events=True) as profile:
        run()
    events = profile.profiler.kineto_results.events()
    changes = [(event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"]
    return peak(change for _, change in sorted(changes, key=lambda pair: pair[0]))


def peak(changes: Iterable[int]) -> int:
    """The highest sum of a beginning of `changes`, at least 0."""
    return max(accumulate(changes, initial=0))


def resident_rise(run: Callable[[], object]) -> int:
    """Bytes by which the process's resident memory rose at most during `run` (Linux)."""
    # Sets the high-water mark to what is resident now.
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmHWM")
    run()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    """A size of this process as the kernel gives it, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
